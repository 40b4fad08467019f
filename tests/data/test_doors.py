"""Every door through which a file of somebody else comes in: what is wrong with it is said in one sentence with its
path, nothing in it runs, and nothing of it fills the memory."""
import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from noisykit.__main__ import read_settings_file
from noisykit.audit.look import look_at
from noisykit.data.folders import download_dataset
from noisykit.data.formats import read_class_list, read_idx, read_tfrecords
from noisykit.data.pixels import decode
from noisykit.data.noise import load_noise
from noisykit.data.openset import read_training_images
from noisykit.data.scan import image_endings, scan_classes
from noisykit.data.source import load_dataset
from noisykit.data.tables import read_table
from noisykit.detection.dynamics import import_dynamics
from noisykit.detection.lstm import load_detector
from noisykit.doors import read_pickle
from noisykit.networks import create_network, read_weights
from noisykit.record import Run, write_atomically
from noisykit.study import read_yaml
from noisykit.train.checkpoint import read_checkpoint
from refusals import refused

LABELS = np.arange(40) % 10
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 3072), np.uint8)

# ---- the doors: the right content of a file, and who reads it

def bytes_of(save, *args, **kw):
    file = io.BytesIO()
    save(file, *args, **kw)
    return file.getvalue()

def torch_bytes(held): return bytes_of(lambda file: torch.save(held, file))
def idx(array): return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
def batch(**more): return pickle.dumps(dict(data=PIXELS, labels=LABELS.tolist()) | more)

def zip_bytes(names):
    def write(file):
        with zipfile.ZipFile(file, "w") as archive:
            for name in names: archive.writestr(name, b"0"*100)
    return bytes_of(write)

def cifar10(path):
    for name in [*(f"data_batch_{i}" for i in range(2, 6)), "test_batch"]: (path.parent/name).write_bytes(batch())
    return load_dataset("cifar10", path.parent)

def dynamics(path):
    torch.save(dict(train_indices=[0], valid_indices=[], true_targets=[0]), path.parent/"metadata.pth")
    return import_dynamics(path.parent, path.parent/"made")

def metadata(path):
    np.savez(path.parent/"training_dynamics.npz", td=np.zeros((1, 2, 1)), labels=np.zeros((1, 1), int))
    return import_dynamics(path.parent, path.parent/"made")

def checkpoint(path): return read_checkpoint(SimpleNamespace(folder=path.parent))
def noise(path): return load_noise(path, LABELS, 10)
def tfrecords(path): return list(read_tfrecords(path))
def class_list(path): return read_class_list(path, 10)
def table(path): return read_table(path, ["path"])
def weights(path): return read_weights("cnn", path)
def animals(path): return load_dataset("animal10n", path.parent)
def openset(path): return read_training_images(load_dataset("digits"), path)

DOORS = { # file -> (what it should hold, who reads it)
    "data_batch_1": (batch(), cifar10),
    "train-images-idx3-ubyte": (idx(PIXELS), read_idx),
    "train-images-idx3-ubyte.gz": (gzip.compress(idx(PIXELS)), read_idx),
    "list.csv": (b"path,label\n" + b"a.png,1\n"*9, table),
    "train.tfrecords": (bytes(200), tfrecords),
    "names.txt": (b"a.png 1\n"*9, class_list),
    "noise.csv": (b"label_noisy\n" + b"1\n"*40, noise),
    "noise.npy": (bytes_of(np.save, LABELS), noise),
    "noise.pt": (torch_bytes(dict(label_noisy=LABELS)), noise),
    "images.npy": (bytes_of(np.save, PIXELS), openset),
    "weights.pt": (torch_bytes(create_network("cnn", 10, 1).state_dict()), weights),
    "a_lstm_detector.pth.tar": (torch_bytes(dict(state_dict={})), load_detector),
    "checkpoint.pt": (torch_bytes(dict(net={})), checkpoint),
    "training_dynamics.npz": (bytes_of(np.savez, td=np.zeros((1, 2, 1)), labels=np.zeros((1, 1), int)), dynamics),
    "metadata.pth": (torch_bytes(dict(train_indices=[0])), metadata),
    "raw_image_ver.zip": (zip_bytes(["training/0_a.jpg", "testing/0_a.jpg"]), animals),
}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 31035704\n"
PNG = bytes_of(lambda file: Image.new("L", (9, 9)).save(file, "PNG"))
WRONG = { # content -> what the sentence says
    "page": (b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>", "it is a web page): download the file itself"),
    "pointer": (LFS, "it is a Git LFS pointer): run `git lfs pull`"),
    "annex": (b"/annex/objects/SHA256E-s3--4d7a", "it is a git-annex pointer): run `git annex get`"),
    "zeros": (bytes(5000), "it is nothing but zeros): download it again"),
    "picture": (PNG, "it is a PNG picture): name another file"),
    "rar": (b"Rar!\x1a\x07\x01\0", "it is a rar archive): unpack it"),
    "empty": (b"", "empty"),
}

@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("door", DOORS)
def test_something_else_came_in_the_place_of_the_file(tmp_path, door, wrong):
    content, says = WRONG[wrong]
    (tmp_path/door).write_bytes(content)
    with refused(text=says) as caught: DOORS[door][1](tmp_path/door)
    assert door in str(caught.value) and len(str(caught.value)) < 400

BINARY = [door for door in DOORS if door.rpartition(".")[2] not in ("csv", "txt")]

@pytest.mark.parametrize("door", BINARY)
@pytest.mark.parametrize("share", [.1, .5, .98])
def test_cut_short(tmp_path, door, share):
    content, read = DOORS[door]
    (tmp_path/door).write_bytes(content[:int(share*len(content))])
    with refused(".") as caught: read(tmp_path/door)
    assert door in str(caught.value)

# ---- pickles

class Touch:
    "Whoever unpickles it makes a file"
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (self.path, "w")

def harmful(ran):
    "Pickles that ask for more than plain things"
    call = f"(V{ran}\nVw\n".encode()
    return {
        "reduce": pickle.dumps(dict(data=PIXELS, labels=Touch(ran))),
        "protocol 0": pickle.dumps([Touch(ran)], 0),
        "inst": call + b"iio\nopen\n.",
        "obj": b"(cio\nopen\n" + call[1:] + b"o.",
        "global": b"cos\nsystem\n.",
        "attribute of an attribute": pickle.dumps(np.ndarray.tofile),
        "another codec": b"c_codecs\nencode\n(Vx\nVzlib_codec\ntR.",
        "objects in an array": pickle.dumps(np.array([1, None], object)),
        "an array of objects by another name": pickle.dumps(np.zeros(2, "V8")),
        "fields": pickle.dumps(np.zeros(2, [("a", "i8")])),
        "fields in a plain type": b"cnumpy\ndtype\n(Vi8\nI00\nI01\ntR(I3\nV<\nN(Va\nt}I8\nI1\nI0\ntb.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Pid\n.",
        "class of ours, changed": b"cnumpy\ndtype\n}Vx\nI1\nsb.",
        "deep": b"]"*100 + b"(l"*5000 + b".",
        "memory for a memo": b"\x80\x02]r\xff\xff\xff\xff" + b".",
        "memory for bytes": b"\x80\x05\x96" + b"\xff"*7 + b"\x0f" + b".",
    }

@pytest.mark.parametrize("name", harmful(""))
def test_a_pickle_that_asks_for_more(tmp_path, name):
    (tmp_path/"data_batch_1").write_bytes(harmful(str(tmp_path/"ran"))[name])
    with refused("data_batch_1") as caught: cifar10(tmp_path/"data_batch_1")
    assert not (tmp_path/"ran").exists()
    if name in ("reduce", "protocol 0", "inst", "obj"):
        assert "it asks for io.open" in str(caught.value) and "nothing of it was run" in str(caught.value)

def test_lists_within_lists_that_stand_for_billions(tmp_path):
    held = [0]
    for _ in range(60): held = [held, held]
    held.append(held)
    (tmp_path/"held").write_bytes(pickle.dumps(held))
    back = read_pickle(tmp_path/"held")
    assert back[2] is back and back[0] is back[1]

TORCH = [door for door in DOORS if ".pt" in door]

@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("door", TORCH)
def test_a_file_of_torch_that_runs_something(tmp_path, door, new):
    held = dict(label_noisy=LABELS, state_dict=Touch(str(tmp_path/"ran")))
    torch.save(held, tmp_path/door, _use_new_zipfile_serialization=new)
    with refused(text="nothing of it was run; get the file from those who made it"): DOORS[door][1](tmp_path/door)
    assert not (tmp_path/"ran").exists()

@pytest.mark.parametrize("door", TORCH)
def test_a_tar_archive_is_not_unpacked_by_torch(tmp_path, door):
    with tarfile.open(tmp_path/door, "w") as archive: archive.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    with refused(text="it is a tar archive): unpack it"): DOORS[door][1](tmp_path/door)

@pytest.mark.parametrize("door", ["noise.npy", "images.npy"])
def test_an_array_that_runs_something(tmp_path, door):
    np.save(tmp_path/door, np.array([Touch(str(tmp_path/"ran"))], object), allow_pickle=True)
    with refused(text="it asks for Python objects"): DOORS[door][1](tmp_path/door)
    assert not (tmp_path/"ran").exists()

# CIFAR-10 as it is given out: Python 2, protocol 2, numpy of that time
PYTHON_2 = (b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            b"(K\x01K\x28M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
            + struct.pack("<I", PIXELS.size) + PIXELS.tobytes() + b"tbU\x06labels](" +
            b"".join(bytes([75, label]) for label in LABELS.tolist()) + b"eu.")
GOOD = {"python 2": PYTHON_2, "bytes as keys": pickle.dumps({b"data": PIXELS, b"labels": LABELS.tolist()}),
        **{f"protocol {p}": pickle.dumps(dict(data=PIXELS, labels=LABELS), p) for p in range(6)},
        "numpy 1": pickle.dumps(dict(data=PIXELS, labels=LABELS.tolist()), 2).replace(b"numpy._core", b"numpy.core"),
        "columns first": pickle.dumps(dict(data=np.asfortranarray(PIXELS), labels=list(LABELS)))}

@pytest.mark.parametrize("name", GOOD)
def test_batches_by_other_pythons_and_numpys(tmp_path, name):
    (tmp_path/"data_batch_1").write_bytes(GOOD[name])
    source = cifar10(tmp_path/"data_batch_1")
    assert (source.train.pixels[:40].flatten(1).numpy() == PIXELS).all() and (source.labels[:40] == LABELS).all()

@pytest.mark.parametrize("more", [
    dict(labels=[1]), dict(labels=[10]*40), dict(labels=[.5]*40), dict(data=PIXELS[:, :9]),
    dict(data=PIXELS.astype(float)), dict(data="x"), dict(labels=None)])
def test_a_batch_of_something_else(tmp_path, more):
    (tmp_path/"data_batch_1").write_bytes(batch(**more))
    with refused(text="data_batch_1 must hold data, a row of 3072 bytes"): cifar10(tmp_path/"data_batch_1")

# ---- archives

def test_paths_in_a_zip_lead_nowhere(tmp_path):
    picture = bytes_of(lambda file: Image.new("RGB", (9, 9)).save(file, "JPEG"))
    with zipfile.ZipFile(tmp_path/"raw_image_ver.zip", "w") as archive:
        for part in ("training", "testing"):
            for k in range(10): archive.writestr(f"../../out/{part}/{k}_{k}.jpg", picture)
    before = sorted(tmp_path.parent.rglob("*"))
    assert len(animals(tmp_path/"raw_image_ver.zip").train) == 10
    assert sorted(tmp_path.parent.rglob("*")) == before

@pytest.mark.parametrize("inside", [False, True])
def test_an_encrypted_zip(tmp_path, inside):
    raw = bytearray(DOORS["raw_image_ver.zip"][0])
    for place in range(len(raw)):
        if raw[place:place + 4] == b"PK\1\2": raw[place + 8] |= 1
        if raw[place:place + 4] == b"PK\3\4": raw[place + 6] |= 1
    if inside:
        with zipfile.ZipFile(tmp_path/"raw_image_ver.zip", "w") as outer: outer.writestr("raw_image.zip", bytes(raw))
    else: (tmp_path/"raw_image_ver.zip").write_bytes(raw)
    with refused(text="raw_image_ver.zip cannot be read as zip (it is encrypted): unpack it with its password"):
        animals(tmp_path/"raw_image_ver.zip")

def test_a_small_file_that_unpacks_to_much(tmp_path):
    head = b"\0\0\x08\x01\xff\xff\xff\xff"
    (tmp_path/"idx.gz").write_bytes(gzip.compress(head + bytes(10**6)))
    with refused("cut short, or longer"): read_idx(tmp_path/"idx.gz")
    (tmp_path/"idx.gz").write_bytes(gzip.compress(head[:3] + b"\x03" + b"\xff"*12))
    with refused("its head says .* bytes, too many"): read_idx(tmp_path/"idx.gz")
    raw = bytearray(DOORS["training_dynamics.npz"][0])
    for place in range(len(raw)):
        if raw[place:place + 4] == b"PK\1\2": raw[place + 24:place + 28] = b"\xfe\xff\xff\xff"
    (tmp_path/"training_dynamics.npz").write_bytes(raw)
    with refused("it would unpack to 8,589,934,588 bytes, too many for its size"):
        dynamics(tmp_path/"training_dynamics.npz")

def test_an_archive_with_another_checksum_is_not_unpacked(tmp_path, monkeypatch):
    "torchvision unpacks CIFAR's archive: only the one that its authors gave out"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("noisykit.data.folders.home", lambda: tmp_path)
    def offline(*args, **kw): raise OSError("no network")
    monkeypatch.setattr("urllib.request.urlopen", offline)
    root = tmp_path/"data/cifar10"
    root.mkdir(parents=True)
    with tarfile.open(root/"cifar-10-python.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../outside"), io.BytesIO())
    with refused("could not be downloaded"):
        download_dataset("cifar10", lambda folder: torchvision.datasets.CIFAR10(folder, download=True))
    assert not list(tmp_path.rglob("outside"))
    assert torchvision.datasets.CIFAR100.tgz_md5 and all(md5 for _, md5 in torchvision.datasets.FashionMNIST.resources)

# ---- pictures and texts

def huge_png(side):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")

PICTURES = {"huge": (huge_png(60_000), "it has over 175,000,000 pixels: make it smaller"),
            "large": (huge_png(13_300), "it has over 175,000,000 pixels: make it smaller"),
            "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", "it is PostScript"),
            "page": (WRONG["page"][0], "it is a web page"), "pointer": (LFS, "it is a Git LFS pointer"),
            "empty": (b"", "it is empty")}

@pytest.mark.parametrize("name", PICTURES)
def test_pictures(tmp_path, name):
    content, says = PICTURES[name]
    (tmp_path/"1.jpg").write_bytes(content)
    with refused(text=f"1.jpg cannot be read ({says})", kinds=OSError): decode(tmp_path/"1.jpg")
    assert look_at(tmp_path/"1.jpg") == dict(broken=says)

def test_no_format_needs_another_program():
    assert not {".eps", ".ps", ".pdf", ".wmf", ".emf"} & set(image_endings())

def test_a_text_of_absurd_size(tmp_path):
    for label in "ab":
        (tmp_path/label).mkdir()
        (tmp_path/label/"1.txt").write_text("words")
    with open(tmp_path/"b/1.txt", "wb") as file: file.truncate(2**34) # sparse
    with refused("b/1.txt has 17,179,869,184 bytes; a text has at most 10,000,000: split it"):
        load_dataset("text", tmp_path)

# ---- yaml

LAUGHS = "\n".join(["a0: &a0 [1, 2]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}']*10)}]" for i in range(1, 12))])
YAML = {"aliases": LAUGHS, "itself": "a: &a [*a]", "object": "a: !!python/object/apply:os.system [exit]",
        "deep": "["*1500}

@pytest.mark.parametrize("name", YAML)
def test_yaml(tmp_path, name):
    path = tmp_path/"config.yaml"
    path.write_text(YAML[name])
    with pytest.raises(SystemExit, match="config.yaml cannot be read as yaml"): read_settings_file(str(path))
    with refused("."): read_yaml(path)
    path.write_text(YAML[name] + ("" if name == "deep" else "\nconfig: {}\npresets: {}"))
    with refused("config.yaml cannot be read as a run's configuration"): Run(tmp_path).config

def test_our_own_aliases_are_read(tmp_path):
    shared = [1, 2]
    (tmp_path/"config.yaml").write_text(yaml.safe_dump(dict(config=dict(epochs=1, a=shared, b=shared), presets={})))
    assert Run(tmp_path).config == dict(epochs=1, a=[1, 2], b=[1, 2])

# ---- links and names

def test_links_and_formulas_are_asked_about(tmp_path):
    for label in ("a", "=1+1", "-5"):
        (tmp_path/"data"/label).mkdir(parents=True)
        (tmp_path/"data"/label/"1.png").write_bytes(PNG)
    (tmp_path/"mine.png").write_bytes(PNG)
    (tmp_path/"data/a/2.png").symlink_to(tmp_path/"mine.png")
    (tmp_path/"data/a/3.png").symlink_to(tmp_path/"data/a/1.png")
    found = scan_classes(tmp_path/"data", image_endings())
    assert len(found.files["a"]) == 3
    assert "should links be followed that lead out of the folder, 1 (a/2.png)?" in found.report()
    assert "should classes be called like formulas, 1 (=1+1)?" in found.report()

def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path/"mine.txt").write_text("mine")
    (tmp_path/"suspects.csv").symlink_to(tmp_path/"mine.txt")
    write_atomically(tmp_path/"suspects.csv", lambda path: path.write_text("new"))
    assert (tmp_path/"mine.txt").read_text() == "mine" and not (tmp_path/"suspects.csv").is_symlink()
