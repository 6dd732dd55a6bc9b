"""Properties of all registered methods, and lookup of methods."""

import pickle
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from gradient_pairs import SHAPES, catalogue, flat, normal

import hamu_ray.methods
from hamu_ray.methods import (
    FORGET_OBJECTIVES,
    METHODS,
    Blocks,
    Branch,
    StepSettings,
    equivalent_gradients,
    forget_objectives_of,
    get_method,
    gram_matrix,
    keys_of,
    settings_of,
)

NAMES = ["hamu-q", "hamu-u", "ft", "ga", "gdiff", "kl", "scrub", "npo", "simnpo", "gru", "pcgrad"]
JD_NAMES = ["jd-upgrad", "jd-mgda", "jd-cagrad", "jd-dualproj", "jd-alignedmtl", "jd-imtlg"]
NO_CONSTRAINT = {"retain_norm", "forget_norm", "gradient_dot", "gradient_cosine", "gradient_angle"}
HAMU = {field.name for field in fields(StepSettings)} - {"retain_weight", "remaining"}
CONSTRAINT = {"constraint", "infeasible_blocks", "stopping_margin", "hardness"}
CONSTRAINT |= {"blocks_outside_radius", "largest_step_radii", "constraint_shortfall"}


def test_names_are_those_of_the_papers():
    assert list(METHODS) == NAMES + JD_NAMES


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_described(name):
    method = get_method(name)
    assert method.name == name
    assert method.summary
    assert "\n" not in method.summary
    assert "arXiv" in method.source
    assert method.retain or method.forget
    assert method.settings <= {field.name for field in fields(StepSettings)}
    assert pickle.loads(pickle.dumps(method)) == method


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ft", set()), ("ga", set()), ("gru", {"granularity"}), ("pcgrad", {"granularity", "retain_weight"})]
    + [(name, {"retain_weight"}) for name in ("gdiff", "kl", "scrub", "npo", "simnpo")]
    + [(name, HAMU) for name in ("hamu-q", "hamu-u")],
)
def test_settings_name_what_is_read(name, expected):
    assert METHODS[name].settings == expected


@pytest.mark.parametrize("granularity", ["tensor", "model"])
@pytest.mark.parametrize("pair", catalogue().values(), ids=catalogue())
@pytest.mark.parametrize("name", METHODS)
def test_every_step_is_finite(name, pair, granularity):
    for options in (
        {"constraint_ratio": 0.5},
        {"constraint_ratio": 0.5, "normalise_split": False},
        {"constraint": 1e-3},
        {"constraint": 1e-3, "radius": 0.1, "infeasible": "best_effort"},
        {"constraint_fraction": 1.0, "radius": 0.1},
    ):
        for split in ("uniform", "grad_norm", "softmax_dot", "exact"):
            gradients, decision = equivalent_gradients(
                name, *pair, lr=1e-3, granularity=granularity, constraint_split=split, **options
            )
            assert [gradient.shape for gradient in gradients] == SHAPES
            assert flat(gradients).isfinite().all()
            assert decision.finite
            assert all(value.isfinite() for value in decision.totals().values())
            assert not decision.per_block.isnan().any()


@pytest.mark.parametrize("name", METHODS)
def test_decisions_are_complete(name):
    gram = gram_matrix(flat(normal(1)), flat(normal(2)), Blocks.from_shapes(SHAPES, "tensor"))
    before = gram.clone()
    decision = METHODS[name].weighting(gram, 1e-3, StepSettings(constraint_ratio=0.5))
    assert torch.equal(gram, before)
    assert decision.weights.shape == (len(SHAPES), 2)
    assert decision.weights.dtype == torch.float64
    assert decision.branch.dtype == torch.int64
    assert all(code in list(Branch) for code in decision.branch.tolist())
    assert decision.per_block.shape == (len(decision.block_names), len(SHAPES))
    totals = decision.totals()
    constrained = name.startswith("hamu")
    assert set(totals) == NO_CONSTRAINT | (CONSTRAINT if constrained else set())
    assert all(value.ndim == 0 for value in totals.values())
    assert (decision.criterion_met is not None) == constrained
    assert decision.infeasible_blocks.ndim == 0
    torch.testing.assert_close(totals["retain_norm"], flat(normal(1)).double().norm())
    cosine = torch.cosine_similarity(flat(normal(1)).double(), flat(normal(2)).double(), dim=0)
    torch.testing.assert_close(totals["gradient_cosine"], cosine)
    torch.testing.assert_close(totals["gradient_angle"], torch.rad2deg(torch.acos(cosine)))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_seen(name, bad):
    r, f = normal(1), normal(2)
    r[1][0] = bad
    _, decision = equivalent_gradients(name, r, f, lr=1e-3, constraint_ratio=0.5, clip_norm=1.0)
    assert not decision.finite


def test_the_table_of_names_and_settings_needs_no_torch():
    code = (
        "import sys, hamu_ray.methods as methods;"
        "assert 'pcgrad' in methods.METHODS and 'x' not in methods.METHODS and len(methods.METHODS) == 17;"
        "assert 'granularity' in methods.settings_of('gru') and not methods.settings_of('ft');"
        "assert 'equivalent_gradients' in dir(methods);"
        "print('torch' in sys.modules);"
        "methods.Blocks;"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_those_of_the_table(name):
    assert METHODS[name].settings == settings_of(name)


@pytest.mark.parametrize("name", METHODS)
def test_forget_objectives_are_those_of_the_table(name):
    own = METHODS[name].forget
    choices = forget_objectives_of(name)
    assert set(choices) <= set(FORGET_OBJECTIVES)
    if choices:
        assert own is not None
        assert own.name == choices[0]
    else:
        assert own is None or own.name not in FORGET_OBJECTIVES


@pytest.mark.parametrize(
    ("name", "objective", "expected"),
    [
        ("ft", None, set()),
        ("ft", "npo", set()),
        ("ga", None, {"forget_objective"}),
        ("ga", "npo", {"forget_objective", "beta"}),
        ("gru", "simnpo", {"granularity", "forget_objective", "beta", "gamma"}),
        ("kl", "cross_entropy", {"retain_weight", "forget_objective"}),
        ("scrub", "simnpo", {"retain_weight"}),
        ("npo", None, {"retain_weight", "beta"}),
        ("npo", "simnpo", {"retain_weight", "beta"}),
        ("simnpo", None, {"retain_weight", "beta", "gamma"}),
        ("hamu-q", "npo", HAMU | {"forget_objective", "beta"}),
    ],
)
def test_keys_are_those_of_the_weighting_and_the_forget_objective(name, objective, expected):
    assert keys_of(name, objective) == expected


def test_every_public_name_is_there():
    for name in hamu_ray.methods.__all__:
        assert getattr(hamu_ray.methods, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'hamus'"):
        _ = hamu_ray.methods.hamus


def test_unknown_names_get_a_hint():
    with pytest.raises(
        ValueError, match=r"method must be one of hamu-q, .*found 'hamu_q' \(did you mean 'hamu-q'"
    ):
        get_method("hamu_q")
    with pytest.raises(ValueError, match=r"did you mean 'pcgrad'"):
        get_method("PCGrad".lower() + "s")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"radius": 0.0}, "radius must be a finite number above 0"),
        ({"radius": "lr"}, "radius must be a finite number"),
        ({"constraint": -1.0}, "constraint must be a finite number at least 0"),
        ({"constraint_ratio": float("nan")}, "constraint_ratio must be"),
        ({"constraint_ratio": True}, "constraint_ratio must be"),
        ({"constraint": 1.0, "constraint_ratio": 0.5}, "are mutually exclusive"),
        (
            {"constraint_fraction": 0.3, "constraint_ratio": 0.5},
            "found constraint_ratio=0.5 and constraint_fraction",
        ),
        ({"constraint_fraction": 1.1}, "constraint_fraction must be at most 1"),
        ({"constraint_split": "equal"}, 'constraint_split must be one of "exact", "uniform", "grad_norm"'),
        ({"granularity": "layer"}, "granularity must be one of"),
        ({"infeasible": "ignore"}, "infeasible must be one of"),
        ({"retain_weight": -0.1}, "retain_weight must be a finite number at least 0"),
        ({"retain_weight": 1.1}, "retain_weight must be between 0 and 1, found 1.1"),
        ({"retain_weight": None}, "retain_weight must be between 0 and 1, found None"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        StepSettings(**values)
