"""Every method takes the steps that it took when tests/golden/losses.json was written: see golden_losses.py."""
import pytest

import golden_losses as golden

@pytest.mark.parametrize("name", golden.CASES)
def test_steps_are_those_of_before(name, tmp_path):
    old = golden.kept()[name]
    golden.prepare(tmp_path)
    new = golden.record(name, tmp_path)
    bits = golden.differing(old, new, exactly=True)
    print(f"{len(bits)} of {len(golden.flat(new))} numbers are not equal to the last bit")
    assert golden.differing(old, new) == {}

def test_every_method_and_addon_has_a_case():
    used = "+".join(case["method"] for case in golden.CASES.values()).split("+")
    assert golden.names_there_are() <= set(used)
    assert list(golden.kept()) == list(golden.CASES)

def test_a_changed_loss_is_seen():
    old = golden.kept()["ce"]
    first, *rest = old["losses"]
    assert list(golden.differing(old, old | dict(losses=[first*(1 + 1e-8), *rest]))) == ["step 1"]
    assert golden.differing(old, old | dict(losses=[first*(1 + 1e-12), *rest])) == {}
    assert list(golden.differing(old, old | dict(losses=[first]))) == [f"step {i}" for i in range(2, 11)]
