"""Properties of all registered methods, and lookup of methods."""

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
import torch
from gradient_pairs import SHAPES, catalogue, flat, normal

import hamu_ray
import hamu_ray.methods
from hamu_ray.methods import (
    FORGET_OBJECTIVES,
    METHODS,
    Blocks,
    Branch,
    Context,
    Hyperparameters,
    equivalent_gradients,
    forget_objectives_of,
    get_method,
    gram_matrix,
    hyperparameter,
    keys_of,
)
from hamu_ray.methods.hyperparameters import described

SUM = {"retain_weight"}
BLOCKS = {"granularity"}
HAMU = {
    "constraint",
    "constraint_ratio",
    "constraint_fraction",
    "constraint_split",
    "normalise_split",
    "radius",
}
HAMU |= {"granularity", "infeasible", "trust_region", "target"}

TABLE = {
    "hamu-q": (HAMU, (1.3693, -1.7229)),
    "hamu-u": (HAMU, (0.98995, -0.84853)),
    "ft": (set(), (1.0, 0.0)),
    "l1-sparse": ({"l1_penalty", "l1_schedule"}, (1.0, 0.0)),
    "ga": (set(), (0.0, -1.0)),
    "gdiff": (SUM, (0.5, -0.5)),
    "kl": (SUM, (0.5, -0.5)),
    "scrub": (SUM | {"phase_steps", "forget_until"}, (0.5, -0.5)),
    "npo": (SUM, (0.5, -0.5)),
    "simnpo": (SUM, (0.5, -0.5)),
    "dpo": (SUM, (0.5, -0.5)),
    "rmu": (SUM, (0.5, -0.5)),
    "salun": (SUM | {"saliency"}, (0.5, -0.5)),
    "ssd": ({"selection", "dampening", "importance", "importance_batch"}, (0.0, 0.0)),
    "bad-teacher": (SUM, (0.5, -0.5)),
    "jensun": (SUM, (0.5, -0.5)),
    "gru": (BLOCKS, (0.5, -1.0)),
    "ngdiff": (set(), (0.5, -(2**-0.5))),
    "pcgrad": (BLOCKS | SUM, (0.75, -1.0)),
    "sago": (SUM | {"aligned"}, (0.0, -0.5)),
    "pdu": ({"retain_loss_eps", "dual_step_size", "initial_multiplier", "dual_warmup"}, (1.0, -1.0)),
    "jd-upgrad": (BLOCKS, (0.75, -1.0)),
    "jd-dualproj": (BLOCKS, (0.5, -0.5)),
    "jd-mgda": (BLOCKS, (0.4, -0.6)),
    "jd-cagrad": (BLOCKS, (0.5, -0.75)),
    "jd-alignedmtl": (BLOCKS, (0.41459, -0.55279)),
    "jd-imtlg": (BLOCKS, (2**0.5 - 1, 2**0.5 - 2)),
}
"""A row for each method: its hyperparameters, and its weights (a, b) with default hyperparameters and learning rate 0.1
on r = (2, 0) and f = (1, 1), which conflict.
"""
NO_CONSTRAINT = {"retain_norm", "forget_norm", "gradient_dot", "gradient_cosine", "gradient_angle"}
CONSTRAINT = {"constraint", "infeasible_blocks", "stopping_margin", "hardness"}
CONSTRAINT |= {"blocks_outside_radius", "largest_step_radii", "constraint_shortfall"}


def test_every_method_has_a_row():
    assert METHODS.keys() == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_numbers_by_hand(name):
    expected, weights = TABLE[name]
    method = METHODS[name]
    assert described(method.hyperparameters).keys() == expected
    both = torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    record = method.hyperparameters()
    context = Context(lr=0.1, hyperparameters=record, state=method.initial_state(record, both.device))
    decision = method.weighting((both @ both.T)[None], context)
    assert decision.weights[0].tolist() == pytest.approx(weights, abs=5e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_described(name):
    method = get_method(name)
    assert method.name == name
    assert method.summary
    assert "\n" not in method.summary
    assert "arXiv" in method.source
    assert method.retain or method.forget
    assert pickle.loads(pickle.dumps(method)) == method


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
    method = METHODS[name]
    record = method.hyperparameters.of({"constraint_ratio": 0.5})
    state = method.initial_state(record, gram.device)
    decision = method.weighting(gram, Context(lr=1e-3, hyperparameters=record, state=state))
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
        "assert 'pcgrad' in methods.METHODS and 'x' not in methods.METHODS;"
        "assert 'granularity' in methods.keys_of('gru') and methods.METHODS['gru'].retain.name == 'cross_entropy';"
        "assert 'equivalent_gradients' in dir(methods);"
        "print('torch' in sys.modules);"
        "methods.Blocks;"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]


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
        ("scrub", "simnpo", {"retain_weight", "phase_steps", "forget_until"}),
        ("npo", None, {"retain_weight", "beta"}),
        ("npo", "simnpo", {"retain_weight", "beta"}),
        ("simnpo", None, {"retain_weight", "beta", "gamma"}),
        ("hamu-q", "npo", HAMU | {"forget_objective", "beta"}),
        ("hamu-q", "jensun", HAMU | {"forget_objective", "target_class"}),
        ("gdiff", "satimp", {"retain_weight", "forget_objective", "beta1", "beta2"}),
        ("ga", "undial", {"forget_objective", "strength"}),
        ("salun", None, {"retain_weight", "saliency"}),
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
        ({"radius": 0.0}, 'radius must be "lr" or a finite number above 0, found 0.0'),
        ({"radius": "rl"}, 'radius must be "lr" or a finite number'),
        ({"constraint": -1.0}, "constraint must be a finite number at least 0 or null"),
        ({"constraint_ratio": float("nan")}, "constraint_ratio must be"),
        ({"constraint_ratio": True}, "constraint_ratio must be"),
        (
            {"constraint": 1.0, "constraint_ratio": 0.5},
            "found constraint and constraint_ratio: set the others",
        ),
        (
            {"constraint_fraction": 0.3, "constraint_ratio": 0.5},
            "found constraint_ratio and constraint_fraction",
        ),
        (
            {"constraint_fraction": 1.1},
            "constraint_fraction must be a finite number at least 0 and at most 1",
        ),
        (
            {"constraint_split": "equal"},
            'constraint_split must be "exact", "uniform", "grad_norm" or "softmax_dot"',
        ),
        ({"granularity": "layer"}, "granularity must be"),
        ({"infeasible": "ignore"}, "infeasible must be"),
        ({"trust_region": 1}, "trust_region must be true or false, found 1"),
    ],
)
def test_values_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        METHODS["hamu-q"].hyperparameters(**values)


@pytest.mark.parametrize("value", [-0.1, 1.1, None, "0.5"])
def test_a_weight_is_a_fraction(value):
    with pytest.raises(
        ValueError, match="retain_weight must be a finite number at least 0 and at most 1, found"
    ):
        METHODS["gdiff"].hyperparameters(retain_weight=value)


def record(**given):
    """A record with one hyperparameter that lacks a part, or has a wrong one."""
    parts = {
        "default": 0.5,
        "summary": "s",
        "source": "p",
        "search": {"uniform": (0.0, 1.0)},
        "le": 1,
        **given,
    }
    annotation = parts.pop("annotation", float)
    name = parts.pop("name", "alpha")
    field = hyperparameter(parts.pop("default"), parts.pop("summary"), **parts)
    made = type("Half", (Hyperparameters,), {"__annotations__": {name: annotation}, name: field})
    return dataclass(frozen=True, kw_only=True)(made)


@dataclass(frozen=True, kw_only=True)
class Undocumented(Hyperparameters):
    alpha: float = 0.5


@pytest.mark.parametrize(
    ("half", "message"),
    [
        ({"name": ""}, "has only lower-case letters"),
        ({"summary": ""}, "needs a summary of one line"),
        ({"source": "two\nlines"}, "needs a source of one line"),
        ({"retain": None, "forget": None}, "neither a retain nor a forget objective"),
        ({"weighting": None}, "has no weighting"),
        ({"weighting": lambda gram, context: None}, "cannot be sent to workers"),
        ({"hyperparameters": Undocumented}, "Undocumented.alpha is not documented"),
        ({"hyperparameters": record(summary="")}, "hyperparameter alpha has no summary"),
        ({"hyperparameters": record(source="")}, "hyperparameter alpha has no source"),
        ({"hyperparameters": record(search={})}, "hyperparameter alpha has no search"),
        (
            {"hyperparameters": record(search={"uniform": (0, 2)})},
            "alpha must be a finite number at most 1, found 2",
        ),
        ({"hyperparameters": record(search={"range": (0, 1)})}, "search must be one domain"),
        ({"hyperparameters": record(default=2.0)}, "alpha must be a finite number at most 1, found 2.0"),
        ({"hyperparameters": record(annotation=list)}, "must be of bool, int, float, Literal or None"),
        ({"hyperparameters": record(name="forget_objective")}, "needs another name"),
    ],
)
def test_half_a_method_is_refused(half, message):
    with pytest.raises(ValueError, match=f"^method '.*': .*{message}|^method '.*' .*{message}"):
        replace(METHODS["gdiff"], **half)


@pytest.mark.parametrize(
    ("half", "message"),
    [
        ({"summary": ""}, "needs a summary"),
        ({"name": "other"}, "makes an objective of another name, 'simnpo'"),
        ({"hyperparameters": record(source="")}, "hyperparameter alpha has no source"),
    ],
)
def test_half_a_forget_objective_is_refused(half, message):
    with pytest.raises(ValueError, match=f"forget objective '.*{message}"):
        replace(FORGET_OBJECTIVES["simnpo"], **half)


METHOD_FILE = """
from hamu_ray.methods.method import Method, weighted_difference
from hamu_ray.methods.hyperparameters import WeightedSum
from hamu_ray.methods.objectives import cross_entropy

NAME = Method(
    name="{name}", summary="s", source="arXiv", weighting=weighted_difference, retain=cross_entropy,
    forget=cross_entropy, hyperparameters=WeightedSum,
)
"""


def test_a_file_is_all_that_a_method_needs(tmp_path):
    """In a copy of the package: one more file in the catalogue, and the schema knows the method and its keys."""
    package = Path(hamu_ray.__file__).parent
    copytree(package, tmp_path / "hamu_ray", ignore=ignore_patterns("__pycache__"))
    folder = tmp_path / "hamu_ray" / "methods" / "catalogue"
    code = (
        "from hamu_ray.config.run import RunConfig;"
        "print(RunConfig.model_validate({'method': {'name': 'new', 'retain_weight': 0.3}}).method.used)"
    )

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def outcome(**files: str) -> str:
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        command = [sys.executable, "-c", code]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )
        for name in files:
            (folder / f"{name}.py").unlink()
        return (result.stdout + result.stderr).splitlines()[-1]

    new = METHOD_FILE.format(name="new")
    assert outcome(new=new) == "{'name': 'new', 'forget_objective': None, 'retain_weight': 0.3}"
    assert outcome(new=new, second=new).endswith("the name 'new' is already taken; choose another")
    assert outcome(empty='"""Nothing."""').endswith(
        "catalogue.empty defines neither a method nor a forget objective"
    )
