"""The commands on the pages of the studies, nbs/studies/, on small real images laid out as the data sets are.

    python tests/tools/commands.py [word ...]    run the lines that contain every word (MLC, IEG, FSR, dynamics ...)

papermill runs them, one after the other.
"""
import importlib.util, io, json, pickle, re, shlex, subprocess, sys, tempfile, time, zipfile
from pathlib import Path

import numpy as np
import yaml

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1]/"support")]
import layouts
from conftest import ENV, ROOT

def lines():
    "(what, command) of every row of every page, in the order of the pages' names"
    rows = []
    for page in sorted((ROOT/"nbs/studies").glob("*.ipynb")):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(page.read_text())["cells"])
        rows += re.findall(r"^\| (.+?) \| `(papermill .+?)` \|$", text, re.M)
    return rows

def parameters(command):
    "What papermill would inject"
    words, given = shlex.split(command), {}
    for place, word in enumerate(words):
        if word == "-p": given[words[place + 1]] = yaml.safe_load(words[place + 2])
        if word == "-y": given |= yaml.safe_load(words[place + 1])
    return given

# ---- small versions of the commands

ISIC_SMALL = dict(image_size=32, train_size=160, test_size=60, workers=0)   # no processes for a few small images

# what makes the documented line small: a small network, few epochs
SMALL = dict(run_method=dict(epochs=2, model="cnn", batch_size=32, device="cpu"),
             train_detector=dict(epochs=2, batch_size=32))
# data sets of picture files, and their options
FILES_SMALL = dict(webvision=dict(num_classes=6), clothing1m={}, cub200={}, caltech256={}, webvision50={},
                   clothing100k={})

def small(command):
    "The documented command on small data: words"
    words = shlex.split(command)
    notebook = words[1].removeprefix("nbs/").removesuffix(".ipynb")
    if "dependent" in words:   # instead of WRN-28-10
        words += ["-y", "noise_options: {settings: {epochs: 2, model: cnn, batch_size: 32}}"]
    if notebook == "run_sweep": words = small_sweep(words)
    if notebook == "studies/sln": words = small_sln_study(words)
    if "isic2019" in words: words = small_isic(words, notebook)
    return [sys.executable, "-m", *words, "-k", "python3", "--no-progress-bar", *set_all(SMALL.get(notebook, {})),
            *(smaller(parameters(command)) if notebook == "run_method" else [])]

def set_all(parameters):
    "papermill's words for parameters of one value"
    words = []
    for name, value in parameters.items(): words += ["-p", name, str(value)]
    return words

def replaced(words, *rules):
    "Words in which each rule's pattern has become its text, one rule after the other"
    for pattern, text in rules: words = [re.sub(pattern, text, word) for word in words]
    return words

def small_sweep(words):
    def base(word): return "base: {epochs: 2, model: cnn, device: cpu, " + "probe_size: 20, "*("mlc" in word)
    words = [re.sub(r"base: \{", base(word), word) for word in words]
    rules = [(r"meta_steps: \[.*?\]", "meta_steps: [1, 5]"), (r"noise_rate: \[.*?\]", "noise_rate: [0, 0.4]")]
    return [*replaced(words, *rules), *set_all(dict(by="loop"))]

def small_sln_study(words):
    rules = [(r"settings: \{", "settings: {epochs: 2, model: cnn, device: cpu, "),
             (r"(ablation|search): .*", r"\1: [0.5]")]
    return [*replaced(words, *rules), *set_all(dict(by="loop")), "-y", "seeds: [0]"]

def small_isic(words, notebook):
    "Instead of 224 pixels, ImageNet's weights, and four processes"
    words = [*words, "-y", f"data_options: {json.dumps(ISIC_SMALL)}"]
    if notebook == "run_method":
        probe = dict(probe_size=20) if "125" in words else {}
        words += set_all(dict(weights="random", nproc=2) | probe)
    if notebook == "studies/isic":
        settings = "settings: {study: isic, weights: random, epochs: 2, model: cnn, batch_size: 32, device: cpu}"
        words = replaced(words, (r"settings: .*", settings))
        words += ["-y", "rates: [0.4]", "-y", "probe_sizes: [5, 20]"]
    return words

def smaller(given):
    "What 240 images, 36 files and 288 texts need beside `SMALL`: words"
    method, data = given["method"].split("+")[0], given.get("dataset")
    values, tables = {}, {}
    if method in ("mlc", "ieg") or given.get("study") in ("mlc", "ieg"):
        values["probe_size"] = dict(clothing1m=28, webvision=12).get(data, 20)
    if method == "fsr": tables["options"] = dict(after=1, queue=200, queue_batch=100)
    if "imbalance" in (given.get("data_options") or {}):
        tables["data_options"] = dict(imbalance=3 if data == "cifar100" else 10)
    if data in FILES_SMALL:
        tables["data_options"] = FILES_SMALL[data] | dict(image_size=32, workers=0)
        values |= dict(batch_size=16, weights="random")
    if data == "text": values |= dict(model=given.get("model", "embedding_bag"), probe_size=30)
    if given.get("nproc", 1) > 1: values["nproc"] = 2
    words = set_all(values)
    for name, table in tables.items(): words += ["-y", json.dumps({name: (given.get(name) or {}) | table})]
    return words

# ---- the data

def make_data(folder, n=240):
    """Small data in the layouts that the commands expect, below `folder`/data.

    Digits as CIFAR-10 and CIFAR-100 (ten classes of each digit), both with a long tail too, Animal-10N, ISIC 2019,
    WebVision, ImageNet, Clothing1M, Tiny ImageNet, CUB-200, Caltech-256 and AUM's parts; re-sln's label files,
    CIFAR-N's, and a list of clean images; texts, and an encoder for them.
    """
    from noisykit.data.source import load_dataset
    folder, digits = Path(folder), load_dataset("mnist5k")
    order = np.random.default_rng(0).permutation(4000)
    ten, hundred, test = (taken(digits, rows) for rows in (order[:n], order[:400], order[-100:]))
    hundred, hundred_test = in_hundred(hundred), in_hundred(test)
    make_cifars(folder/"data", ten, test, hundred, hundred_test)
    make_long_tails(folder/"data/imbalance", ten, test, hundred, hundred_test)
    make_noise_files(folder/"data", ten, hundred[1])
    make_animals(folder/"data/animal-10n", ten, test)
    make_isic(folder/"data/isic2019", digits)
    make_folders_of_files(folder/"data")
    make_texts(folder/"data")
    (folder/"runs").mkdir()
    (folder/"settings.ini").touch()   # the project's folder is the one with this file
    for name in ("nbs", "results"): (folder/name).symlink_to(ROOT/name)

def taken(digits, rows):
    "(digits as coloured pictures of 32x32, their labels)"
    from PIL import Image
    def picture(i): return Image.fromarray(digits.train.pixels[i, 0].numpy()).resize((32, 32)).convert("RGB")
    return [np.asarray(picture(i)) for i in rows], digits.labels[rows]

def in_hundred(part):
    "The same pictures, in ten classes of each digit: one after the other as they come"
    images, labels = part
    before = np.array([(labels[:i] == label).sum() for i, label in enumerate(labels)])
    return images, labels*10 + before % 10

def flat(images): return np.stack(images).transpose(0, 3, 1, 2).reshape(len(images), -1)

def write_pickle(path, **values): path.write_bytes(pickle.dumps(values))

def make_cifars(folder, ten, ten_test, hundred, hundred_test):
    "The pickles that CIFAR-10 and CIFAR-100 are given out as"
    batches, parts = folder/"cifar10/cifar-10-batches-py", folder/"cifar100/cifar-100-python"
    batches.mkdir(parents=True)
    parts.mkdir(parents=True)
    images, labels = ten
    for i, rows in enumerate(np.array_split(np.arange(len(labels)), 5), 1):
        write_pickle(batches/f"data_batch_{i}", data=flat(images)[rows], labels=labels[rows].tolist())
    write_pickle(batches/"test_batch", data=flat(ten_test[0]), labels=ten_test[1].tolist())
    for name, (images, labels) in (("train", hundred), ("test", hundred_test)):
        coarse = (labels//5).tolist()
        write_pickle(parts/name, data=flat(images), fine_labels=labels.tolist(), coarse_labels=coarse)

def make_long_tails(folder, ten, ten_test, hundred, hundred_test):
    "The TFRecords of class-balanced loss"
    from noisykit.data.source import long_tail
    example = layouts.example()
    for classes, most, ratio, train, test in ((10, 15, 10, ten, ten_test), (100, 3, 3, hundred, hundred_test)):
        tail = folder/f"cifar-{classes}-data-im-0.02"
        tail.mkdir(parents=True)
        counts = enumerate(long_tail(most, classes, ratio))
        keep = np.concatenate([np.flatnonzero(train[1] == label)[:count] for label, count in counts])
        layouts.write_records(tail/"train.tfrecords", flat(train[0])[keep], train[1][keep], example)
        layouts.write_records(tail/"eval.tfrecords", flat(test[0]), test[1], example)

def make_noise_files(folder, ten, hundred_labels):
    "re-sln's label files in label_noisy/, and CIFAR-N's"
    import torch
    from noisykit.data.noise import make_noise, save_noise, save_rules
    images, labels = np.stack(ten[0]), ten[1]
    for name, true, classes in (("cifar10", labels, 10), ("cifar100", hundred_labels, 100)):
        noisy = folder/name/"label_noisy"
        noisy.mkdir()
        for file in ("sym0.4", "sym0.4_custom", "dependent0.4"):
            save_noise(make_noise(true, classes, "symmetric", 0.4, seed=len(file)), noisy/f"{file}.csv")
        asymmetric = make_noise(true, classes, "asymmetric", 0.4)
        save_noise(asymmetric, noisy/"asym0.4.csv")
        save_rules(asymmetric.matrix, noisy/"asym0.4_noise_rules.csv")
    noisy = folder/"cifar10/label_noisy"
    foreign = make_noise(labels, 10, "openset", 0.4)
    save_noise(foreign, noisy/"openset0.4_custom.csv")
    images[foreign.flipped] = 255 - images[foreign.flipped]
    np.save(noisy/"openset0.4_custom.npy", images)
    def human(true, classes): return make_noise(true, classes, "symmetric", 0.4).given
    columns = dict(clean_label=labels, worse_label=human(labels, 10), aggre_label=labels)
    torch.save(columns, folder/"CIFAR-10_human.pt")
    columns = dict(clean_label=hundred_labels, noisy_label=human(hundred_labels, 100),
                   clean_coarse_label=(hundred_labels//5).tolist())
    torch.save(columns, folder/"CIFAR-100_human.pt")

def make_animals(folder, train, test):
    "Animal-10N's zip in a zip"
    from PIL import Image
    folder.mkdir()
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for part, (images, labels) in (("training", train), ("testing", test)):
            for i, (image, label) in enumerate(zip(images, labels)):
                jpeg = io.BytesIO()
                Image.fromarray(image).resize((64, 64)).save(jpeg, "JPEG")
                archive.writestr(f"{part}/{label}_img_{i}.jpg", jpeg.getvalue())
    with zipfile.ZipFile(folder/"raw_image_ver.zip", "w") as archive:
        archive.writestr("raw_image.zip", inner.getvalue())

def make_folders_of_files(folder):
    "The data sets of picture files, and ImageNet as a link to pictures of WebVision"
    layouts.webvision(folder/"webvision")
    layouts.clothing1m(folder/"clothing1m")
    layouts.tinyimagenet(folder/"tinyimagenet", 6, 12)
    layouts.cub200(folder/"cub200", 5, 16)
    layouts.caltech256(folder/"caltech256")
    for name in ("webvision50", "clothing100k"): layouts.class_folders(folder/name, train=10, val=2, test=3)
    (folder/"imagenet").mkdir()
    for name, there in (("val", "imagenet_val"), ("train", "numbered")):
        (folder/"imagenet"/name).symlink_to(folder/"webvision"/there)

def make_texts(folder):
    "Two tables, every fifth text in the second, and an encoder where its library is there"
    (folder/"text").mkdir()
    texts = layouts.docstrings()
    held = np.arange(len(texts)) % 5 == 0
    for part, rows in (("train", ~held), ("test", held)): texts[rows].to_csv(folder/f"text/{part}.csv", index=False)
    if importlib.util.find_spec("transformers"): layouts.bert(folder/"bert-base", texts.text)

ISIC = dict(MEL=60, NV=110, BCC=40, AK=25, BKL=35, DF=14, VASC=14, SCC=22, UNK=0)   # as unequal as the real ones

def make_isic(folder, digits):
    """Digits 0 to 7 as coloured JPEGs of about 96 pixels, with ISIC 2019's tables.

    Some names are _downsampled, some images show the same lesion.
    """
    from PIL import Image
    rng, classes, rows, lesions = np.random.default_rng(1), list(ISIC), [], []
    images = folder/"ISIC_2019_Training_Input"
    images.mkdir(parents=True)
    wanted = np.concatenate([np.flatnonzero(digits.labels == c)[:count] for c, count in enumerate(ISIC.values())])
    for i, digit in enumerate(rng.permutation(wanted)):
        name = f"ISIC_{i:07}" + "_downsampled"*(i % 12 == 0)
        picture = Image.fromarray(digits.train.pixels[digit, 0].numpy()).resize((96 + i % 3*8, 96))
        grey = np.asarray(picture)[..., None]/255
        skin, spot = rng.uniform([200, 150, 130], [240, 190, 170]), rng.uniform([60, 30, 20], [120, 80, 60])
        Image.fromarray((skin + grey*(spot - skin)).astype(np.uint8)).save(images/f"{name}.jpg", quality=90)
        rows.append(",".join([name, *(f"{float(c == digits.labels[digit])}" for c in range(9))]))
        lesion = "" if i % 10 == 0 else f"HAM_{i//2:07}"
        lesions.append(f"{name},{40 + i % 40}.0,anterior torso,{lesion},female")
    layouts.write(folder/"ISIC_2019_Training_GroundTruth.csv", [",".join(["image", *classes]), *rows])
    head = "image,age_approx,anatom_site_general,lesion_id,sex"
    layouts.write(folder/"ISIC_2019_Training_Metadata.csv", [head, *lesions])
    write_clean_list(folder, classes)

def write_clean_list(folder, classes):
    "Names of five images, each of another class, that are not held out"
    from noisykit.data.source import load_dataset
    there = load_dataset("isic2019", folder, **ISIC_SMALL)
    def first(name): return Path(there.files[np.flatnonzero(there.labels == classes.index(name))[0]]).stem
    layouts.write(folder/"clean_5.txt", [first(name) for name in ("AK", "DF", "SCC", "MEL", "BCC")])

# ---- running them

def run(command, folder):
    "A CompletedProcess of the small version, in the folder of the data"
    return subprocess.run(small(command), cwd=folder, env=ENV | dict(PYTHONPATH=str(ROOT)), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)

def main(wanted):
    folder, failed = Path(tempfile.mkdtemp()), 0
    make_data(folder)
    for what, command in lines():
        if not all(word in what + command for word in wanted): continue
        started = time.time()
        done = run(command, folder)
        failed += done.returncode != 0
        print(f"exit {done.returncode}  {time.time() - started:4.0f} s  {what}", flush=True)
        if done.returncode: print(done.stderr[-1500:], flush=True)
    print(f"in {folder}; {failed} failed")
    return failed > 0

if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
