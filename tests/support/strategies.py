"""What the property tests in tests/fuzz share: how many examples there are, and what they are drawn from.

    make test                                        the profile ci: the same examples every time
    make test-long SEED=7                            the profile long: 25 times as many, others for each seed
"""
import csv
import functools
import io
import os
import tempfile
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
from PIL import Image
from hypothesis import given, settings, strategies as st
from hypothesis.internal.conjecture import providers

from noisykit.config import SETTINGS
from noisykit.data.noise import LAWS, law_options as law_option_types
from noisykit.data.pixels import FORMATS
from noisykit.data.scan import unfit
from noisykit.data.source import COMMON, known_datasets
from noisykit.networks import NETWORKS
from noisykit.study import known_studies
from noisykit.train.method import ADDONS, COMPOSED, expanded, known_methods

# else it draws constants of all modules that happen to be there, which differ between the processes of pytest-xdist
providers._get_local_constants = lambda: providers._local_constants

PROMISED = Counter() # test -> examples in the profile ci

def fuzz(examples, **values):
    "Test a property with `examples` draws, in the profile long 25 times as many; an error if fewer were made"
    def decorate(property):
        PROMISED[f"{property.__module__}.{property.__name__}"] = examples
        tried = 0
        @functools.wraps(property)
        def counted(**one):
            nonlocal tried
            tried += 1
            property(**one)
        most = examples*(25 if settings.get_current_profile_name() == "long" else 1)
        tested = settings(max_examples=most)(given(**values)(counted))
        def test():
            tested()
            drawn = tried - len(getattr(property, "hypothesis_explicit_examples", ()))
            assert drawn >= most, f"{drawn} examples of {most}"
        test.__name__, test.__doc__ = property.__name__, property.__doc__
        return test
    return decorate

def new_folder():
    "A folder, as a context, in memory where that can be had: a thousand of them take no time"
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)

# ---- noise

RATES = st.one_of(st.floats(0, 1), st.sampled_from([0, 1, 0., .29, .3, 1e-300]))
SEEDS = st.integers(0, 2**40)

@st.composite
def labelled(draw, most=5):
    "(labels [N], C): classes with a few samples, one or none, in any order"
    counts = draw(st.lists(st.integers(0, most), min_size=1, max_size=6).filter(any))
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(sum(counts))
    return np.repeat(np.arange(len(counts)), counts)[order], len(counts)

@st.composite
def stochastic(draw, C):
    "[C, C] >= 0 whose rows sum to 1"
    parts = st.lists(st.integers(0, 3), min_size=C, max_size=C).filter(any)
    weights = np.array(draw(st.lists(parts, min_size=C, max_size=C)), float)
    return weights/weights.sum(1, keepdims=True)

def scores(N, C):
    "[N, C], as of a network"
    return st.integers(0).map(lambda seed: np.random.default_rng(seed).dirichlet(np.full(C, .3), N))

def law_options(N, C):
    "law -> options of each; some that do not fit the classes are among them"
    number = st.integers(0, C - 1) | st.integers(-1, C)
    groups = st.lists(st.sampled_from(["animal", "plant", 1]), min_size=C, max_size=C)
    maps = st.sampled_from(["next", "cifar10", "superclass", "no such"]) | st.dictionaries(number, number, max_size=C)
    return dict(
        none=st.just({}), symmetric=st.just({}), uniform=st.just({}), openset=st.just({}),
        asymmetric=st.fixed_dictionaries(dict(map=maps), optional=dict(superclass=groups)),
        matrix=st.fixed_dictionaries({}, optional=dict(matrix=stochastic(C))),
        flip=st.fixed_dictionaries({}, optional=dict(map_seed=st.integers(-1, 2**33))),
        flip2=st.fixed_dictionaries({}, optional=dict(map_seed=st.integers(0))),
        hierarchical=st.fixed_dictionaries({}, optional=dict(superclass=groups)),
        dependent=st.fixed_dictionaries({}, optional=dict(scores=scores(N, C))),
    )

@st.composite
def noise_queries(draw):
    "What `make_noise` is asked: labels, classes, law, rate, seed, options"
    true, C = draw(labelled())
    options = law_options(len(true), C)
    law = draw(st.sampled_from(sorted(options)))
    return dict(true=true, num_classes=C, law=law, rate=draw(RATES), seed=draw(SEEDS), **draw(options[law]))

# ---- settings of runs

TEXT = st.text(max_size=6) | st.sampled_from(["~", "~nobody", "a\nb", "\0", "\ud800", ".", "x.yaml", "x.csv", "1"])
SIMPLE = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-1, 3), st.floats(), st.floats(0, 1), TEXT)
ODD = st.sampled_from([Path("a/b"), np.float32(.5), np.int64(3), np.array([1, 2]), np.array(2.), b"x", (1, 2), {3},
                       1j, object, 10**400, -0., np.bool_(True), np.datetime64("2020-01-01"), np.array(["a", None])])
PLAIN = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
                     max_leaves=4)
ANY_VALUE = PLAIN | ODD
OF_TYPE = {int: st.integers(0, 300), float: st.floats(0, 1), bool: st.booleans(), str: TEXT, dict: PLAIN, list: PLAIN}

def of_type(annotation):
    "Values of a setting's or option's type, and a few that are not"
    kinds = [OF_TYPE[kind] for kind in getattr(annotation, "__args__", (annotation,)) if kind in OF_TYPE]
    return mostly(st.one_of(*kinds), st.none() | ANY_VALUE)

def option_values(types):
    "A few of the options in {name: type}, seldom an unknown one"
    known = {name: of_type(kind) for name, kind in types.items()}
    return mostly(st.fixed_dictionaries({}, optional=known), st.dictionaries(TEXT, SIMPLE, max_size=2))

def mostly(strategy, rest, often=9):
    "Of one strategy, seldom of the other"
    return st.sampled_from([strategy]*often + [rest]).flatmap(lambda chosen: chosen)

@st.composite
def methods(draw):
    "A method with a few add-ons, most of which go together"
    first = draw(mostly(st.sampled_from(sorted(known_methods()) + sorted(COMPOSED)), TEXT))
    more = draw(mostly(st.just([]), st.lists(st.sampled_from(sorted(ADDONS)), max_size=2, unique=True), 2))
    return "+".join([first, *more])

def options_of(method):
    "Of a method and its add-ons"
    known = {}
    for part in expanded(method):
        cls = (known_methods() | ADDONS).get(part)
        for option in fields(cls.Options) if cls else (): known[option.name] = of_option(option)
    return st.fixed_dictionaries({}, optional=known)

def of_option(option):
    "Values that a method's option takes, as far as it says"
    choices = option.metadata.get("choices")
    return st.sampled_from(choices) if choices else of_type(option.type)

SCHEDULES = st.one_of(
    st.sampled_from(["constant", "cosine"]),
    st.fixed_dictionaries(dict(milestones=mostly(st.lists(st.integers(1, 99), max_size=3), ANY_VALUE),
                               gamma=mostly(st.floats(.01, 1), ANY_VALUE))),
    st.fixed_dictionaries(dict(first=mostly(st.floats(.1), ANY_VALUE), longer=mostly(st.floats(1, 3), ANY_VALUE),
                               lower=mostly(st.floats(.1, 1), ANY_VALUE))),
)
NAMED = dict(dataset=sorted(known_datasets()), study=sorted(known_studies()), model=sorted(NETWORKS),
             noise=[*LAWS, "file"], device=["cpu", "cuda", "cuda:1", "meta", "cpu:0"])
OPEN = sorted(SETTINGS.keys() - {"method", "options", "noise_options", "data_options", "dataset", "noise"})

def values_of(setting):
    "Values that fit a setting's type and range, and a few others"
    declared = SETTINGS[setting]
    choices = NAMED.get(setting) or declared.metadata.get("choices")
    if setting == "schedule": fit = SCHEDULES
    elif choices: fit = st.sampled_from(choices)
    else: fit = of_type(declared.type)
    return mostly(fit, ANY_VALUE)

@st.composite
def run_settings(draw):
    "What `resolve` may be asked: right and wrong, and combinations that may not go together"
    asked = dict(method=draw(methods()), device="cpu")
    for name in ("dataset", "noise"):
        if draw(st.booleans()): asked[name] = draw(values_of(name))
    for name in draw(st.lists(st.sampled_from(OPEN), max_size=4, unique=True)): asked[name] = draw(values_of(name))
    dataset, law = asked.get("dataset", "mnist5k"), asked.get("noise", "symmetric")
    if draw(st.booleans()): asked["options"] = draw(mostly(options_of(asked["method"]), ANY_VALUE))
    if draw(st.booleans()) and isinstance(dataset, str) and dataset in known_datasets():
        types = COMMON | known_datasets()[dataset].__annotations__
        asked["data_options"] = draw(mostly(option_values(types), ANY_VALUE))
    if draw(st.booleans()) and isinstance(law, str) and law in LAWS:
        asked["noise_options"] = draw(mostly(option_values(law_option_types(law)), ANY_VALUE))
    if draw(mostly(st.just(False), st.just(True), 30)): asked[draw(TEXT.filter(str.isidentifier))] = 1
    return asked

# ---- records of runs

SHAPES = st.sampled_from(["float32", "float16", "float64", "int16", "int64", "bool"])

def arrays(samples):
    "name -> array [N], [N, 3] ..."
    def array(kind, shape, seed): return np.random.default_rng(seed).normal(0, 99, shape).astype(kind)
    shapes = st.sampled_from([(samples,), (samples, 3), (samples, 0)])
    names = st.sampled_from(["loss", "weight", "probs", "classes", "β", "a b"])
    return st.dictionaries(names, st.builds(array, SHAPES, shapes, st.integers(0, 99)), min_size=1, max_size=3)

METRICS = st.dictionaries(st.sampled_from(["train_loss", "test_accuracy", "seconds", "a, b", "π"]),
                          st.floats() | st.floats(width=32) | st.integers(-9, 2**53), max_size=4)

@st.composite
def records(draw):
    "What a run writes: settings, whose they are, environment, data, table of labels, rows of metrics, arrays"
    samples, epochs = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    config = dict(method="ce", epochs=epochs, seed=draw(SEEDS), lr=draw(st.floats(0, 9)), data_dir=draw(st.text()),
                  options=draw(st.none() | st.dictionaries(st.text(), st.floats(allow_nan=False) | st.text())))
    words = st.text(max_size=5)
    names = st.lists(words, min_size=1, max_size=3)
    about = dict(classes=draw(names), matrix=[draw(st.lists(st.floats(0, 1), min_size=2, max_size=2))],
                 skipped=draw(st.lists(words | st.just("\udcff.png"), max_size=2)))
    true, given = draw(st.lists(st.integers(-1, 3), min_size=samples, max_size=samples)), [0]*samples
    labels = dict(index=range(samples), split="train", true=true, given=given, flipped=np.not_equal(true, given))
    if draw(st.booleans()):
        names = words.filter(lambda name: not unfit(name)).map("{}.png".format)
        labels["file"] = draw(st.lists(names, min_size=samples, max_size=samples))
    rows = [dict(epoch=epoch) | draw(METRICS) for epoch in range(1, epochs + 1)]
    values = [draw(arrays(samples)) for _ in range(epochs)]
    presets = draw(st.dictionaries(words, words, max_size=2))
    return dict(config=config, presets=presets, env=dict(torch="2"), about=about, labels=labels, rows=rows,
                values=values)

# ---- folders and names of files

def as_name(raw):
    "A name that a file may have, of bytes; not always valid UTF-8"
    name = os.fsdecode(raw.replace(b"/", b"_").replace(b"\0", b"_"))
    return name if name not in ("", ".", "..") else "_"

ODD_NAMES = [
    "a ", " a", "A", "a.", "a,b", 'a"b', "a;b", "=a", "-1", "1", "2", "10", "1.0", "nan", "NA", "con", "nul", "aux.png",
    "~", "\u00e9", "e\u0301", "\u308a\u3093\u3054", "\U0001f600", "\u202egnp", "a\u2028b", "a\nb", "a\tb", "\ufeffa",
    "%41", "<b>", "$x", "{x}", "x.png", "y.JPG",
    "\u0130", "\u00df", "SS", "x"*120, "\udcff", ".hidden", "__MACOSX", "Thumbs.db",
    ".ipynb_checkpoints", "train", "Test", "valid", "testing", "train2017", "test images", "dev", "-", "--help", "*",
]
NAMES = st.one_of(st.sampled_from(["a", "b", "c"]), st.sampled_from(ODD_NAMES), st.binary(max_size=12).map(as_name),
                  st.text("aA\u00e4 .1-_", min_size=1, max_size=4).map(lambda name: as_name(name.encode())))
ENDINGS = st.sampled_from([".png"]*9 + [".PNG", ".jpg", ".gif", ".webp", ".heic", ".txt", ".csv", "", ".", ".png ",
                                        ".zip", ".tmp"])

@st.composite
def folders(draw):
    "[(path, what)] of a folder: what is a file's content, None for a folder, or text, the target of a link"
    pool = ["a", "b", *draw(st.lists(NAMES, min_size=1, max_size=4))]
    part = st.sampled_from(pool)
    entries = [("a/1.png", b"x"), ("b/2.png", b"x")]*draw(st.sampled_from([1, 1, 1, 0]))
    for _ in range(draw(st.integers(0, 7))):
        path = "/".join(draw(st.lists(part, max_size=3)))
        name = draw(NAMES) + draw(ENDINGS)
        kind = draw(st.sampled_from(["file"]*6 + ["folder", "link", "run"]))
        if kind == "run": entries += [(f"{path}/{made}", b"x") for made in ("config.yaml", "labels.csv")]
        elif kind == "folder": entries.append((f"{path}/{name}", None))
        elif kind == "link": entries.append((f"{path}/{name}", draw(st.sampled_from(["..", "../a", "gone", *pool]))))
        else: entries.append((f"{path}/{name}", b"x"))
    return entries

def make_folder(root, entries):
    "Make what `folders` drew, as far as the disk takes it"
    for path, what in entries:
        place = Path(root)/path.strip("/")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if what is None: place.mkdir(exist_ok=True)
            elif isinstance(what, str): place.symlink_to(what)
            elif not place.exists(): place.write_bytes(what)
        except OSError: continue # the name is too long, or taken by something else

# ---- tables

ODD_WORDS = ["a", "b", "1", "1.0", "01", "NA", "nan", "", " a", "a ", "a,b", "a;b", "a|b", "a\tb", 'a"b', '"a"', ' "a"',
             "a\nb", "a\r\nb", "\ufeffa", "=1+1", "-1", "\xe9", "\x85", "\u2028", "True", "#", "'", "\\", "\xa0"]
WORDS = st.text(max_size=6) | st.sampled_from(ODD_WORDS)

@st.composite
def tables(draw, columns, words=WORDS):
    "(bytes of a csv file, its rows): any separator, quotes, line end and encoding that can hold them"
    rows = draw(st.lists(st.lists(words, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=5))
    broken = any(set("\r\n").intersection(word) for row in rows for word in row)
    quoting = csv.QUOTE_ALL if broken else draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    separator, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting).writerows([columns, *rows])
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    try: return out.getvalue().encode(encoding), rows
    except UnicodeEncodeError: return out.getvalue().encode("utf-8"), rows

# ---- pictures

MODES = "1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F"

def raster(mode, size, seed):
    "A picture of noise; the values of deep modes need more than 8 bits"
    draws, (width, height) = np.random.default_rng(seed), size
    if mode in ("I", "I;16"): values = draws.integers(0, 60_000, (height, width)).astype("i4" if mode == "I" else "u2")
    elif mode == "F": values = draws.normal(0, 10.**draws.integers(-3, 9), (height, width)).astype("f4")
    else: values = draws.integers(0, 256, (height, width, 4), np.uint8)
    if values.ndim == 2: return Image.fromarray(values)
    if mode in ("1", "P"): return Image.fromarray(values).convert(mode)
    return Image.frombytes(mode, size, values[..., :Image.getmodebands(mode)].tobytes())

def saved(picture, kind, **how):
    "The bytes of a picture file; empty where Pillow cannot write such a picture"
    out = io.BytesIO()
    try: picture.save(out, kind, **how)
    except (OSError, ValueError, KeyError, TypeError): return b""
    return out.getvalue()

@functools.cache
def written():
    "[(mode, format)] of what Pillow writes and the kit reads"
    Image.init()
    kinds = [kind for kind in FORMATS if kind in Image.SAVE and kind in Image.OPEN]
    return [(mode, kind) for mode in MODES for kind in kinds if saved(raster(mode, (9, 5), 0), kind)]

@st.composite
def pictures(draw):
    "(bytes of a file, the picture in it, its format, its turn as EXIF has it)"
    mode, kind = draw(st.sampled_from(written()))
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    picture, turn = raster(mode, size, draw(st.integers(0, 99))), draw(st.integers(0, 9))
    how = {}
    if kind in ("JPEG", "PNG", "WEBP", "TIFF") and turn:
        how["exif"] = Image.Exif()
        how["exif"][0x0112] = turn
    return saved(picture, kind, **how), picture, kind, turn if how else 0
