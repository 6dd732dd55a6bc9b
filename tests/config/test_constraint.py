"""What methods with a guarantee promise, read from their records."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import hamu_ray
from hamu_ray.api.run import _space
from hamu_ray.config.constraint import aims_of
from hamu_ray.methods import METHODS, registry
from hamu_ray.methods.catalogue.hamu.hyperparameters import QualityHyperparameters, UtilityHyperparameters

FRACTION = "method.constraint_fraction"


def test_aims_are_those_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    assert aims_of("hamu-q") == ("forgetting", "retaining")
    assert aims_of("hamu-u") == ("retaining", "forgetting")
    assert [aims_of(name) for name in ("gdiff", "no-such-method")] == [None, None]
    monkeypatch.setitem(registry._METHODS, "other", replace(METHODS["hamu-u"], name="other"))
    assert aims_of("other") == ("retaining", "forgetting"), "by the record, whatever the name"


def test_the_searched_fraction_is_that_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._METHODS, "other", replace(METHODS["hamu-u"], name="other"))
    arms = _space(("hamu-q", "other", "gdiff"))[FRACTION]
    assert arms == [
        {"uniform": [0.1, 0.4], "when": {"method.name": "hamu-q"}},
        {"uniform": [0.6, 0.9], "when": {"method.name": "other"}},
    ]
    assert FRACTION not in _space(("gdiff", "no-such-method")), "refused with the document, with its remedy"


PLUG_IN = """
from dataclasses import replace
from hamu_ray.methods import METHODS
NAME = replace(METHODS["hamu-u"], name="own")
"""


def test_a_method_from_outside_is_searched_like_the_packages_own(tmp_path: Path) -> None:
    (tmp_path / "own_guarantee.py").write_text(PLUG_IN)
    code = (
        "from hamu_ray.api.run import _space; from hamu_ray.config.constraint import aims_of;"
        f"print(_space(['own_guarantee:NAME'])['{FRACTION}'], aims_of('own_guarantee:NAME'))"
    )
    path = f"{tmp_path}{os.pathsep}{Path(hamu_ray.__file__).parent.parent}"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    arm = {"uniform": [0.6, 0.9], "when": {"method.name": "own_guarantee:NAME"}}
    assert found.stdout.strip() == f"{[arm]} ('retaining', 'forgetting')", found.stderr


@dataclass(frozen=True, kw_only=True)
class Silent(UtilityHyperparameters):
    """A constraint, and no word on what it guarantees."""

    guarantees = None


def test_half_a_guarantee_is_refused() -> None:
    assert METHODS["hamu-q"].has_guarantee
    assert not METHODS["gdiff"].has_guarantee
    assert QualityHyperparameters.guarantees == "forgetting"
    with pytest.raises(ValueError, match=r"'hamu-u': .* both guarantees and constraint_fraction, or neither"):
        replace(METHODS["hamu-u"], hyperparameters=Silent)
