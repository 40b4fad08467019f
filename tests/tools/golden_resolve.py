"""What `resolve` makes of 31,000 queries, in golden/resolve.jsonl.gz: guards presets, their sources, error sentences.

    python tests/tools/golden_resolve.py check [--sources-may-differ]    compare; exit 1 where something differs
    python tests/tools/golden_resolve.py write      after a deliberate change: ask all again, keep that
    zcat tests/golden/resolve.jsonl.gz              what is kept

The queries are every method and combination with add-ons x every noise law and a noise file x every data set, without
a study and with each study that has settings for it. So each rule of the presets is met alone and with every other one
that can hold at the same time, except that models and rates, on which few rules depend, are asked for with fewer
methods and laws (`MODELS`, `RATES`). A study with a data set that it does not know is refused: one method is enough
there. Then come every line of the commands page, settings beside presets (`GIVEN`), and wrong ones (`WRONG`).

`check` needs `resolve` alone: the file says the queries. A line of it holds the queries with the same answer ("when":
each value is a list of alternatives, null: not given) and the settings that were not given, as far as they are not
those of "usual" on the first line; "gone" are names of usual that the answer lacks. 0 and 0.0 are different values.
"""
import copy, dataclasses, gzip, json, sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# all that is taken from the package, here and nowhere else
from noisykit import networks
from noisykit.resolve import resolve

FILE = Path(__file__).parents[1]/"golden/resolve.jsonl.gz"

# the queries of `write`
CIFARS = ["cifar10", "cifar100"]
DYNAMICS = [*CIFARS, "tinyimagenet", "cub200", "caltech256", "webvision50", "clothing100k"]
STUDIES = {
    "l2r": CIFARS, "idn": CIFARS, "fsr_tail": CIFARS, "fsr_tail_noise": CIFARS, "sln": [*CIFARS, "animal10n"],
    "isic": ["isic2019"], "mlc": [*CIFARS, "clothing1m"], "ieg": [*CIFARS, "webvision"], "fsr": [*CIFARS, "webvision"],
    "td": DYNAMICS, "td_retrain": DYNAMICS, "dividemix": [*CIFARS, "cub200", "webvision", "webvision50"],
}
DATASETS = [
    "mnist5k", "digits", "fashion_mnist", "cifar10", "cifar100", "imagefolder", "imagelist", "isic2019", "animal10n",
    "clothing1m", "webvision", "text", "tinyimagenet", "cub200", "caltech256", "webvision50", "clothing100k",
]
METHODS = [
    "ce", "dividemix", "fsr", "ieg", "l2r", "mixup_hard", "mixup_soft", "proposal", "mlc", "probe_only", "sln",
]
COMBINATIONS = [
    "supervised", "upper_bound", "ce+mo", "ce+lc", "ce+pseudo", "ce+mo+lc", "supervised+mo", "sln+mo", "sln+lc",
    "sln+pseudo", "sln+mo+lc", "sln+lc+mo", "l2r+mo", "l2r+pseudo", "l2r+mo+lc", "ieg+mo", "ieg+mo+lc", "fsr+mo",
    "fsr+mo+lc", "mlc+mo+lc", "proposal+mo", "mixup_hard+mo", "dividemix+mo", "dividemix+mo+lc", "probe_only+mo",
    "upper_bound+mo",
]
LAWS = [
    "none", "symmetric", "uniform", "asymmetric", "matrix", "flip", "flip2", "hierarchical", "dependent", "openset",
]
MODELS = ["resnet29", "resnet34", "resnet50", "resnet101"]
RATES = [.2, .5, .9]
WRONG = [
    {"metod": "ce"}, {"method": "cee"}, {"method": "mo"}, {"method": "ce+om"}, {"method": "sln+mo+mo"},
    {"method": "ce+lc+pseudo"}, {"method": "upper_bound+pseudo"}, {"method": "upper_bound+lc"},
    {"method": "probe_only+lc"}, {"method": "probe_only+pseudo"}, {"method": 3}, {"method": ""}, {"dataset": "cifar"},
    {"dataset": "cifar10", "study": "l2"}, {"noise": "symetric"}, {"model": "resnet"}, {"optimizer": "sdg"},
    {"precision": "float16"}, {"engine": "jpv"}, {"method": "l2r", "meta_level": "first"}, {"batch_norm": "none"},
    {"dynamics": "both"}, {"schedule": "linear"}, {"schedule": {"milestones": [3]}},
    {"schedule": {"first": 1, "longer": .5, "lower": 1}}, {"epochs": 0}, {"epochs": 2.5}, {"epochs": "ten"},
    {"batch_size": 0}, {"lr": -1.}, {"lr": "0.1"}, {"noise_rate": 1.01}, {"momentum": 2.}, {"val_share": 1.5},
    {"threshold": 2}, {"remove_ratio": .999, "scores_file": "s.csv"}, {"seed": -1}, {"nproc": 0}, {"keep_probs": -1},
    {"grad_clip": -1.}, {"weight_decay": -1.}, {"probe_size": -1}, {"probe_batch": 0}, {"restarts": -1},
    {"noise": "file"}, {"noise": "symmetric", "noise_file": "l.csv"}, {"noise_rate": .2, "noise_file": "l.csv"},
    {"probe_file": "p.txt", "probe_size": 10}, {"method": "ce", "meta_level": "last"},
    {"method": "dividemix", "dynamics": "training"}, {"val_fold": 1}, {"scores_file": "s.csv"},
    {"method": "dividemix", "schedule": {"first": 1, "longer": 2, "lower": .9}},
    {"threshold": 0, "method": "upper_bound"}, {"remove_ratio": .1}, {"noise": "none", "noise_rate": .2},
    {"optimizer": "adam", "momentum": .5}, {"optimizer": "adam", "nesterov": True}, {"nesterov": True, "momentum": 0.},
    {"method": "l2r", "batch_norm": "synced", "engine": "higher"},
    {"method": "l2r", "optimizer": "adamw", "engine": "higher"}, {"method": "l2r", "probe_size": 0},
    {"noise_options": {"map": "next"}}, {"noise": "asymmetric", "noise_options": {"mapp": "next"}},
    {"noise": "flip", "noise_options": {"map_seed": "a"}},
    {"noise": "openset", "noise_options": {"dataset": "mnist5k"}},
    {"noise": "openset", "noise_options": {"dataset": "mnist"}},
    {"noise": "openset", "dataset": "cifar10", "noise_options": {"dataset": "cifar10"}}, {"data_options": {"size": 3}},
    {"data_options": {"train_size": "a"}}, {"data_options": {"sample": "some"}}, {"data_options": {"imbalance": .5}},
    {"options": {"sigma": 1.}}, {"method": "sln", "options": {"sigma": "a"}},
    {"method": "sln", "options": {"sigma": -1.}}, {"method": "ce+mo", "options": {"ema_decay": 1.}},
    {"method": "ce+lc", "options": {"lc_after": 30}}, {"method": "ce+lc", "options": {"lc_after": -1}},
    {"method": "fsr", "options": {"after": 30}}, {"method": "fsr", "options": {"queue": 0}},
    {"method": "fsr", "options": {"weighting": "cut"}}, {"method": "dividemix", "options": {"warm_up": 30}},
    {"method": "dividemix", "options": {"ramp": 0}}, {"method": "dividemix", "options": {"T": 0.}},
    {"method": "dividemix", "options": {"p_threshold": 1.}}, {"method": "ieg", "options": {"strong": "weak"}},
    {"method": "ieg", "options": {"ce_factor": -1.}}, {"method": "mlc", "options": {"meta_lr": 0.}},
    {"method": "mlc", "options": {"meta_steps": 0}}, {"method": "l2r", "options": {"scale": 0.}},
    {"method": "l2r", "options": {"reduction": "mean"}}, {"method": "mixup_soft", "options": {"as_written": True}},
    {"method": "mixup_hard", "options": {"as_written": True, "gradient": "mixture"}},
    {"method": "proposal", "options": {"labels": "some"}},
]
GIVEN = [    # they stay; an option beside another one's preset is joined with it
    {}, {"probe_file": "p.txt"}, {"val_share": .1, "val_fold": 2}, {"threshold": 1},
    {"scores_file": "s/lstm.csv", "remove_ratio": .2}, {"epochs": 3, "lr": .5, "schedule": "constant"},
    {"dataset": "cifar10", "method": "sln", "options": {"sigma": .3}},
    {"dataset": "cifar10", "method": "dividemix", "noise_rate": .9, "options": {"T": .4}},
    {"dataset": "webvision", "method": "fsr", "options": {"queue": 1000}},
    {"dataset": "isic2019", "data_options": {"train_size": 100}},
    {"dataset": "isic2019", "data_options": {"image_size": 32}},
    {"dataset": "cifar10", "noise": "asymmetric", "noise_options": {"map": "next"}},
    {"dataset": "cifar10", "study": "idn", "noise": "none"},
    {"noise": "openset", "noise_options": {"dataset": "digits"}}, {"dataset": "cub200", "weights": "random"},
    {"dataset": "text", "method": "mlc", "probe_size": 50},
    {"dataset": "imagefolder", "data_dir": "somewhere/pictures"}, {"method": "l2r", "optimizer": "adam"},
    {"method": "fsr", "meta_level": "all"}, {"dataset": "cifar10", "model": "encoder"}, {"keep_probs": True},
    {"keep_probs": 3}, {"grad_clip": 1}, {"lr": 1}, {"seed": 5, "run_dir": "runs/mine"},
]

def queries():
    "What is asked for when the file is written"
    known = []
    for study, datasets in STUDIES.items(): known += [(study, data) for data in datasets]
    for study, data in [*((None, d) for d in DATASETS), *known]:
        place = {"study": study, "dataset": data}
        if str(study).startswith("fsr_tail"):
            yield place
            place["data_options"] = {"imbalance": 50}
        yield from ({**place, **rest} for rest in methods_and_laws())
    yield from ({"study": s, "dataset": d} for s, d in product(STUDIES, DATASETS) if (s, d) not in known)
    yield from GIVEN + WRONG
    import commands
    yield from (commands.parameters(line) for _, line in commands.lines() if "run_method.ipynb" in line)

def methods_and_laws():
    "What is asked for with each data set and study"
    for method in [*METHODS, *COMBINATIONS]:
        yield from ({"method": method, "noise": law} for law in [None, *LAWS])
        yield {"method": method, "noise_file": "labels.csv"}
    for method, model in product(METHODS, MODELS): yield {"method": method, "model": model}
    laws = [None, "symmetric", "uniform", "asymmetric"]
    for method, law, rate in product(["ce", "sln", "dividemix", "dividemix+mo"], laws, RATES):
        yield {"method": method, "noise": law, "noise_rate": rate}

def keep_networks():
    "Each network is built once: `resolve` builds one for every query, only to see that it can"
    build, built = networks.create_network, {}
    def create_network(*args, **kw):
        key = repr((args, kw))
        if key not in built: built[key] = build(*args, **kw)
        return built[key]
    for name, module in list(sys.modules.items()):
        ours = name.startswith("noisykit") and getattr(module, "create_network", None) is build
        if ours: module.create_network = create_network

def text(value): return json.dumps(value, sort_keys=True, ensure_ascii=False)

def without_none(query): return {k: v for k, v in query.items() if v is not None}

def answer(query):
    "The settings that the query leaves open and where they come from, or the error"
    try: config, sources = resolve(**copy.deepcopy(query), device="cpu")
    except Exception as error: return {"error": f"{type(error).__name__}: {error}"}
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    settings["run_dir"] = short_folder(settings)
    del settings["device"]
    kept = {k: v for k, v in settings.items() if k not in query or text(query[k]) != text(v)}
    return {"settings": kept, "sources": dict(sources)}

def short_folder(settings):
    "A run's folder without what is above it; one word where it says nothing that the other settings do not"
    folder = "/".join(Path(settings["run_dir"]).parts[-2:])
    method, dataset, noise, rate, seed = map(settings.get, ("method", "dataset", "noise", "noise_rate", "seed"))
    rate = "" if noise == "none" or rate is None else f"{rate:g}"
    return "the usual" if folder == f"runs/{method}-{dataset}-{noise}{rate}-s{seed}" else folder

def write():
    "Ask all, and keep the answers, equal ones once"
    asked = {text(q): q for q in map(without_none, queries())}
    answers = {}
    for q in asked.values(): answers.setdefault(text(answer(q)), []).append(q)
    usual = answer({})
    lines = [{"when": merged(group)} | shorter(json.loads(found), usual) for found, group in answers.items()]
    content = "\n".join(map(text, [{"usual": usual}, *lines])) + "\n"
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(gzip.compress(content.encode(), mtime=0))
    size, packed = len(content)//1000, FILE.stat().st_size//1000
    print(f"{len(asked)} queries, {len(answers)} different answers, {size} kB, {packed} kB packed")

def merged(asked):
    "The same queries in fewer entries"
    keys = {}
    for query in asked: keys |= dict.fromkeys(query)
    def entry(query): return {key: [query.get(key)] for key in keys}
    def given(entry): return {key: values for key, values in entry.items() if values != [None]}
    entries = [entry(query) for query in asked]
    for key in ("noise", "noise_rate", "model", "method", "dataset", "study"):
        if key in keys: entries = joined(entries, key)
    return [given(entry) for entry in entries]

def joined(entries, key):
    "Entries that differ in one setting alone become one with all its values"
    alike = {}
    for entry in entries:
        others = {name: values for name, values in entry.items() if name != key}
        alike.setdefault(text(others), []).append(entry)
    return [{**group[0], key: sum((entry[key] for entry in group), [])} for group in alike.values()]

def shorter(found, usual):
    "An answer as it is kept: what differs from the usual"
    if "error" in found: return found
    line = {}
    for part, values in found.items():
        line[part] = {k: v for k, v in values.items() if k not in usual[part] or text(v) != text(usual[part][k])}
        line[f"gone_{part}"] = sorted(usual[part].keys() - values.keys())
    return line

def longer(line, usual):
    "The answer that was kept"
    if "error" in line: return {"error": line["error"]}
    def whole(part): return {k: v for k, v in usual[part].items() if k not in line[f"gone_{part}"]} | line[part]
    return {part: whole(part) for part in ("settings", "sources")}

def read():
    "(query, its answer) of the file"
    first, *lines = map(json.loads, gzip.decompress(FILE.read_bytes()).decode().splitlines())
    for line in lines:
        kept = longer(line, first["usual"])
        for when in line["when"]:
            for values in product(*when.values()): yield without_none(dict(zip(when, values))), kept

def flat(settings):
    "Entries of dictionaries as settings of their own, values as text"
    out = {}
    for k, v in settings.items():
        out |= {f"{k}.{name}": text(x) for name, x in v.items()} if v and isinstance(v, dict) else {k: text(v)}
    return out

def differences(old, new):
    "(values or sources, setting, before, after) of one query"
    if "error" in old or "error" in new:
        if old != new: yield "values", "the answer", *(r.get("error", "settings") for r in (old, new))
        return
    before, after = flat(old["settings"]), flat(new["settings"])
    def valued(values, k, sources): return f"{values.get(k, 'absent')} [{sources.get(k.split('.')[0], 'no source')}]"
    for k in sorted(before.keys() | after.keys()):
        if before.get(k) == after.get(k): continue
        yield "values", k, valued(before, k, old["sources"]), valued(after, k, new["sources"])
    for k in sorted(old["sources"].keys() | new["sources"].keys()):
        was, now = (r["sources"].get(k, "no source") for r in (old, new))
        if was != now: yield "sources", k, was, now

def report(title, found):
    "Equal differences once, with the number of queries and the first ones"
    print(f"\n{title}: {len(found)} different ones" if found else f"\n{title}: all equal")
    for (key, was, now), where in sorted(found.items(), key=lambda x: (x[0][0], -len(x[1]), x[0])):
        examples = "; ".join(map(shown, where[:3])) + (" ..." if len(where) > 3 else "")
        print(f"  {key}\n    - {was}\n    + {now}\n    in {len(where)}: {examples}")

def shown(query):
    return " ".join(f"{k}={v if isinstance(v, str) else text(v)}" for k, v in query.items()) or "no setting"

def check(sources_may_differ=False):
    "Exit status"
    found, asked, wrong = {"values": {}, "sources": {}}, 0, 0
    for query, old in read():
        new, asked = json.loads(text(answer(query))), asked + 1
        if text(new) == text(old): continue
        wrong += 1
        for kind, *what in differences(old, new): found[kind].setdefault(tuple(what), []).append(query)
    report("values and error sentences", found["values"])
    report("sources", found["sources"])
    print(f"\n{asked} queries compared, {wrong} differ")
    return int(bool(found["values"]) or (bool(found["sources"]) and not sources_may_differ))

if __name__ == "__main__":
    keep_networks()
    if sys.argv[1:] == ["write"]: write()
    elif sys.argv[1:] in (["check"], ["check", "--sources-may-differ"]): sys.exit(check(len(sys.argv) > 2))
    else: sys.exit(__doc__)
