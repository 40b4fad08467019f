"""The commands on the pages of the studies, nbs/studies/, on small real images laid out as the data sets are.

    python tests/tools/commands.py [word ...]    run the lines that contain every word (MLC, IEG, FSR, dynamics ...), one after the other, by papermill
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
        words = "\n".join("".join(c["source"]) for c in json.loads(page.read_text())["cells"])
        rows += re.findall(r"^\| (.+?) \| `(papermill .+?)` \|$", words, re.M)
    return rows

def parameters(command):
    "What papermill would inject"
    words, out = shlex.split(command), {}
    for i, w in enumerate(words):
        if w == "-p": out[words[i + 1]] = yaml.safe_load(words[i + 2])
        if w == "-y": out |= yaml.safe_load(words[i + 1])
    return out

ISIC_SMALL = dict(image_size=32, train_size=160, test_size=60, workers=0)   # no processes for a few small images

# what makes the documented line small: a small network, few epochs
SMALL = {"run_method": "-p epochs 2 -p model cnn -p batch_size 32 -p device cpu", "train_detector": "-p epochs 2 -p batch_size 32"}
FILES_SMALL = dict(webvision=dict(num_classes=6)) | {d: {} for d in ("clothing1m", "cub200", "caltech256", "webvision50", "clothing100k")}   # instead of 50 classes

def small(command):
    "The documented command on small data: words"
    words = shlex.split(command)
    notebook = words[1].removeprefix("nbs/").removesuffix(".ipynb")
    if "dependent" in words: words += ["-y", "noise_options: {settings: {epochs: 2, model: cnn, batch_size: 32}}"]   # instead of WRN-28-10
    if notebook == "run_sweep":
        words = [re.sub(r"base: \{", "base: {epochs: 2, model: cnn, device: cpu, " + "probe_size: 20, "*("mlc" in w), w) for w in words] + ["-p", "by", "loop"]
        words = [re.sub(r"noise_rate: \[.*?\]", "noise_rate: [0, 0.4]", re.sub(r"meta_steps: \[.*?\]", "meta_steps: [1, 5]", w)) for w in words]
    if notebook == "studies/sln":
        words = [re.sub(r"settings: \{", "settings: {epochs: 2, model: cnn, device: cpu, ", w) for w in words]
        words = [re.sub(r"(ablation|search): .*", r"\1: [0.5]", w) for w in words] + ["-p", "by", "loop", "-y", "seeds: [0]"]
    if "isic2019" in words:   # instead of 224 pixels, ImageNet's weights, and four processes
        words += ["-y", f"data_options: {json.dumps(ISIC_SMALL)}"]
        if notebook == "run_method": words += ["-p", "weights", "random", "-p", "nproc", "2"] + ["-p", "probe_size", "20"]*("125" in words)
        if notebook == "studies/isic": words = [re.sub(r"settings: .*", "settings: {study: isic, weights: random, epochs: 2, model: cnn, batch_size: 32, device: cpu}", w) for w in words]
        if notebook == "studies/isic": words += ["-y", "rates: [0.4]", "-y", "probe_sizes: [5, 20]"]
    return [sys.executable, "-m", *words, "-k", "python3", "--no-progress-bar", *shlex.split(SMALL.get(notebook, "")), *(smaller(parameters(command)) if notebook == "run_method" else [])]

def smaller(given):
    "What 240 images, 36 files and 288 texts need beside `SMALL`: words"
    method, data, p, y = given["method"].split("+")[0], given.get("dataset"), {}, {}
    if method in ("mlc", "ieg") or given.get("study") in ("mlc", "ieg"): p["probe_size"] = dict(clothing1m=28, webvision=12).get(data, 20)
    if method == "fsr": y["options"] = dict(after=1, queue=200, queue_batch=100)
    if "imbalance" in (given.get("data_options") or {}): y["data_options"] = dict(imbalance=3 if data == "cifar100" else 10)
    if data in FILES_SMALL:
        y["data_options"] = FILES_SMALL[data] | dict(image_size=32, workers=0)
        p |= dict(batch_size=16, weights="random")
    if data == "text": p |= dict(model=given.get("model", "embedding_bag"), probe_size=30)
    if given.get("nproc", 1) > 1: p["nproc"] = 2
    return [w for k, v in p.items() for w in ("-p", k, str(v))] + [w for k, v in y.items() for w in ("-y", json.dumps({k: (given.get(k) or {}) | v}))]

def make_data(folder, n=240):
    "Digits as CIFAR-10, CIFAR-100 (ten classes of each digit), both with a long tail, Animal-10N, ISIC2019, WebVision, ImageNet and Clothing1M, Tiny ImageNet, CUB-200, Caltech-256 and AUM's parts, with re-sln's label files, CIFAR-N's, and a list of clean images; texts, and an encoder for them"
    import torch
    from PIL import Image
    from noisykit.data.source import load_dataset, long_tail
    from noisykit.data.noise import make_noise, save_noise, save_rules
    folder, s = Path(folder), load_dataset("mnist5k")
    order = np.random.default_rng(0).permutation(4000)
    def take(rows): return [np.asarray(Image.fromarray(s.train.pixels[i, 0].numpy()).resize((32, 32)).convert("RGB")) for i in rows], s.labels[rows]
    def fine(y): return y*10 + np.array([(y[:i] == c).sum() for i, c in enumerate(y)]) % 10
    train, test = order[:n], order[-100:]
    (x, y), (x100, y100), (xt, yt) = take(train), take(order[:400]), take(test)
    y100, yt100 = fine(y100), fine(yt)
    flat = lambda x: np.stack(x).transpose(0, 3, 1, 2).reshape(len(x), -1)
    c10, c100 = folder/"data/cifar10/cifar-10-batches-py", folder/"data/cifar100/cifar-100-python"
    c10.mkdir(parents=True); c100.mkdir(parents=True)
    for i, part in enumerate(np.array_split(np.arange(n), 5), 1): (c10/f"data_batch_{i}").write_bytes(pickle.dumps(dict(data=flat(x)[part], labels=y[part].tolist())))
    (c10/"test_batch").write_bytes(pickle.dumps(dict(data=flat(xt), labels=yt.tolist())))
    for name, x_, y_ in (("train", x100, y100), ("test", xt, yt100)): (c100/name).write_bytes(pickle.dumps(dict(data=flat(x_), fine_labels=y_.tolist(), coarse_labels=(y_//5).tolist())))
    Example = layouts.example()
    for C, most, ratio, train_, test_ in ((10, 15, 10, (x, y), (xt, yt)), (100, 3, 3, (x100, y100), (xt, yt100))):
        (tail := folder/f"data/imbalance/cifar-{C}-data-im-0.02").mkdir(parents=True)
        keep = np.concatenate([np.flatnonzero(train_[1] == c)[:k] for c, k in enumerate(long_tail(most, C, ratio))])
        for part, x_, y_ in (("train", flat(train_[0])[keep], train_[1][keep]), ("eval", flat(test_[0]), test_[1])): layouts.write_records(tail/f"{part}.tfrecords", x_, y_, Example)
    for name, y_, C in (("cifar10", y, 10), ("cifar100", y100, 100)):
        labels = folder/"data"/name/"label_noisy"; labels.mkdir()
        for file in ("sym0.4", "sym0.4_custom", "dependent0.4"): save_noise(make_noise(y_, C, "symmetric", 0.4, seed=len(file)), labels/f"{file}.csv")
        asym = make_noise(y_, C, "asymmetric", 0.4); save_noise(asym, labels/"asym0.4.csv"); save_rules(asym.matrix, labels/"asym0.4_noise_rules.csv")
    foreign = make_noise(y, 10, "openset", 0.4); save_noise(foreign, folder/"data/cifar10/label_noisy/openset0.4_custom.csv")
    images = np.stack(x); images[foreign.flipped] = 255 - images[foreign.flipped]; np.save(folder/"data/cifar10/label_noisy/openset0.4_custom.npy", images)
    human = lambda y, C: make_noise(y, C, "symmetric", 0.4).given
    torch.save(dict(clean_label=y, worse_label=human(y, 10), aggre_label=y), folder/"data/CIFAR-10_human.pt")
    torch.save(dict(clean_label=y100, noisy_label=human(y100, 100), clean_coarse_label=(y100//5).tolist()), folder/"data/CIFAR-100_human.pt")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as z:
        for part, x_, y_ in (("training", x, y), ("testing", xt, yt)):
            for i, (image, label) in enumerate(zip(x_, y_)):
                jpeg = io.BytesIO(); Image.fromarray(image).resize((64, 64)).save(jpeg, "JPEG"); z.writestr(f"{part}/{label}_img_{i}.jpg", jpeg.getvalue())
    (folder/"data/animal-10n").mkdir()
    with zipfile.ZipFile(folder/"data/animal-10n/raw_image_ver.zip", "w") as z: z.writestr("raw_image.zip", inner.getvalue())
    make_isic(folder/"data/isic2019", s)
    layouts.webvision(folder/"data/webvision"); layouts.clothing1m(folder/"data/clothing1m")
    layouts.tinyimagenet(folder/"data/tinyimagenet", 6, 12); layouts.cub200(folder/"data/cub200", 5, 16); layouts.caltech256(folder/"data/caltech256")
    for name in ("webvision50", "clothing100k"): layouts.class_folders(folder/"data"/name, train=10, val=2, test=3)
    (folder/"data/imagenet").mkdir()
    for name, there in (("val", "imagenet_val"), ("train", "numbered")): (folder/"data/imagenet"/name).symlink_to(folder/"data/webvision"/there)
    (folder/"data/text").mkdir()
    texts = layouts.docstrings(); held = np.arange(len(texts)) % 5 == 0
    for part, rows in (("train", ~held), ("test", held)): texts[rows].to_csv(folder/f"data/text/{part}.csv", index=False)
    if importlib.util.find_spec("transformers"): layouts.bert(folder/"data/bert-base", texts.text)
    (folder/"runs").mkdir()
    (folder/"settings.ini").touch()   # the project's folder is the one with this file
    for name in ("nbs", "results"): (folder/name).symlink_to(ROOT/name)

ISIC = dict(MEL=60, NV=110, BCC=40, AK=25, BKL=35, DF=14, VASC=14, SCC=22, UNK=0)   # as unequal as the real ones

def make_isic(folder, s):
    "Digits 0 to 7 as coloured JPEGs of about 96 pixels, with ISIC2019's tables; some names are _downsampled, some images show the same lesion"
    from PIL import Image
    from noisykit.data.source import load_dataset
    rng, classes, rows, lesions = np.random.default_rng(1), list(ISIC), [], []
    (images := folder/"ISIC_2019_Training_Input").mkdir(parents=True)
    digits = np.concatenate([np.flatnonzero(s.labels == c)[:n] for c, n in enumerate(ISIC.values())])
    for i, d in enumerate(rng.permutation(digits)):
        name = f"ISIC_{i:07}" + "_downsampled"*(i % 12 == 0)
        grey = np.asarray(Image.fromarray(s.train.pixels[d, 0].numpy()).resize((96 + i % 3*8, 96)))[..., None]/255
        skin, spot = rng.uniform([200, 150, 130], [240, 190, 170]), rng.uniform([60, 30, 20], [120, 80, 60])
        Image.fromarray((skin + grey*(spot - skin)).astype(np.uint8)).save(images/f"{name}.jpg", quality=90)
        rows.append(",".join([name, *(f"{float(c == s.labels[d])}" for c in range(9))]))
        lesions.append(f"{name},{40 + i % 40}.0,anterior torso,{'' if i % 10 == 0 else f'HAM_{i//2:07}'},female")
    (folder/"ISIC_2019_Training_GroundTruth.csv").write_text("\n".join([",".join(["image", *classes]), *rows]) + "\n")
    (folder/"ISIC_2019_Training_Metadata.csv").write_text("\n".join(["image,age_approx,anatom_site_general,lesion_id,sex", *lesions]) + "\n")
    there = load_dataset("isic2019", folder, **ISIC_SMALL)   # the list is of images that are not held out
    first = lambda c: Path(there.files[np.flatnonzero(there.labels == classes.index(c))[0]]).stem
    (folder/"clean_5.txt").write_text("\n".join(first(c) for c in ("AK", "DF", "SCC", "MEL", "BCC")) + "\n")

def run(command, folder): return subprocess.run(small(command), cwd=folder, env=ENV | dict(PYTHONPATH=str(ROOT)), stdin=subprocess.DEVNULL, capture_output=True, text=True)

if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp()); make_data(folder); failed = 0
    for what, command in lines():
        if not all(w in what + command for w in sys.argv[1:]): continue
        started = time.time(); done = run(command, folder); failed += done.returncode != 0
        print(f"exit {done.returncode}  {time.time() - started:4.0f} s  {what}" + (f"\n{done.stderr[-1500:]}" if done.returncode else ""), flush=True)
    print(f"in {folder}; {failed} failed"); sys.exit(failed > 0)
