"""Whatever somebody asks for: a run's settings, or one sentence."""
from copy import deepcopy
from dataclasses import asdict

import yaml
from hypothesis import example

from noisykit.resolve import resolve
from refusals import unless_refused
from strategies import fuzz, run_settings

@fuzz(300, asked=run_settings())
@example(dict(method="dividemix", options=dict(warm_up=10**400))) # was an OverflowError
@example(dict(optimizer="adam")) # its momentum of .9 was refused when it was given again
def test_any_settings(asked):
    "What resolves resolves again to the same, also from a file; and nothing that was asked for is lost"
    before = deepcopy(asked)
    resolved = unless_refused(resolve, **asked)
    if resolved is None: return
    assert repr(asked) == repr(before)
    config, settings = resolved[0], asdict(resolved[0])
    assert yaml.safe_load(yaml.safe_dump(settings)) == settings
    again, _ = resolve(**settings)
    assert again == config
