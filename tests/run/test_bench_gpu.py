"""`bench_gpu.ipynb` on a CPU at a tiny size: every cell runs, and what it measures is what it says."""
import pandas as pd

from conftest import papermill

TINY = """{models: [cnn, resnet32], methods: [ce, sln+mo+lc, l2r, ieg @ last, fsr],
options: {fsr: {queue: 40, queue_batch: 16}}, batch_size: 16, probe_size: 20, image_size: 8, exact_images: 52,
step_images: 36, epoch_images: 52, rounds: 1, device: cpu}"""

def test_bench_gpu_on_a_cpu(tmp_path):
    done = papermill("bench_gpu", tmp_path/"out.ipynb", f"{TINY[:-1]}, out: {tmp_path/'gpu.csv'}}}", cold=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = pd.read_csv(tmp_path/"gpu.csv")
    part = dict(list(rows.groupby("part", sort=False)))
    assert part["exact"].difference.between(0, 1e-9).all()
    assert list(part["exact"].name) == ["l2r", "ieg @ last", "fsr"]
    assert part["twice"].same.all() and len(part["twice"]) == 10   # 5 methods, 2 precisions
    assert part["steps"][["ms a step", "peak MB"]].gt(0).all(axis=None) and len(part["steps"]) == 20
    assert part["steps"].query("name == 'ce'")[["ratio", "peak ratio"]].eq(1).all(axis=None)
    assert set(part["epochs"].name) == {"sln", "ieg"} and part["epochs"]["seconds an epoch"].gt(0).all()
    assert part["group"].same.all() and set(part["group"].precision) == {"float32", "bfloat16"}
    assert {"device", "torch", "git", "cores"} <= set(rows)
