"""The weightings of torchjd, against torchjd's aggregators of the two-row Jacobian and closed forms."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from gradient_pairs import Pair, catalogue, flat, normal, scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd import aggregation

from hamu_ray.methods import METHODS, Branch, Context, equivalent_gradients
from hamu_ray.methods.catalogue.torchjd_weightings import _load
from hamu_ray.methods.registry import check_installed

AGGREGATORS = {
    "jd-upgrad": aggregation.UPGrad,
    "jd-mgda": aggregation.MGDA,
    "jd-cagrad": partial(aggregation.CAGrad, c=0.5),
    "jd-dualproj": aggregation.DualProj,
    "jd-alignedmtl": aggregation.AlignedMTL,
    "jd-imtlg": aggregation.IMTLG,
}
DIFFICULT = (
    "zero_retain",
    "zero_forget",
    "both_zero",
    "parallel",
    "opposite",
    "identical",
    "zero_in_a_block",
)
seeds = st.integers(0, 10_000)


def doubled(pair: Pair) -> Pair:
    return [part.double() for part in pair[0]], [part.double() for part in pair[1]]


def context(name: str) -> Context:
    return Context(lr=0.1, hyperparameters=METHODS[name].hyperparameters())


def weights(name: str, gram: list[list[float]]) -> list[float]:
    matrix = torch.tensor([gram], dtype=torch.float64)
    return METHODS[name].weighting(matrix, context(name)).weights[0].tolist()


def test_all_are_here():
    assert {name for name in METHODS if name.startswith("jd-")} == AGGREGATORS.keys()


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("granularity", ["tensor", "model"])
@pytest.mark.parametrize("pair", ["random", "again", "conflict", *DIFFICULT])
def test_every_block_gets_torchjds_aggregation(name, granularity, pair):
    conflict = normal(1), [a + b for a, b in zip(normal(1), normal(2), strict=True)]
    pairs = {**catalogue(), "again": (normal(5), normal(6, 2.0)), "conflict": conflict}
    r, f = doubled(pairs[pair])
    gradients, decision = equivalent_gradients(name, r, f, lr=0.1, granularity=granularity)
    rows = zip(r, f, strict=True) if granularity == "tensor" else [(flat(r), flat(f))]
    jacobians = [torch.stack((a.reshape(-1), -b.reshape(-1))) for a, b in rows]
    aggregate = AGGREGATORS[name]()
    expected = torch.cat([aggregate(jacobian) for jacobian in jacobians])
    torch.testing.assert_close(flat(gradients), expected, rtol=1e-6, atol=1e-9)
    assert set(decision.branch.tolist()) == {Branch.SOLVED}


@given(seed=seeds, ratio=st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_mgda_is_the_shortest_vector_between_the_two(seed, ratio):
    r, f = doubled((normal(seed), normal(seed + 1, ratio)))
    gradients, _ = equivalent_gradients("jd-mgda", r, f, lr=0.1, granularity="model")
    one, other = flat(r), -flat(f)
    # The closest point to the origin on the line through both, or the closer end.
    share = ((other @ (other - one)) / (one - other).square().sum()).clamp(0, 1)
    torch.testing.assert_close(flat(gradients), share * one + (1 - share) * other)


@pytest.mark.parametrize("name", ["jd-upgrad", "jd-dualproj"])
@given(seed=seeds, shared=st.floats(-3, 3))
@settings(max_examples=40, deadline=None)
def test_projections_harm_neither_objective(name, seed, shared):
    r, noise = doubled((normal(seed), normal(seed + 1)))
    f = [shared * a + b for a, b in zip(r, noise, strict=True)]
    gradients, decision = equivalent_gradients(name, r, f, lr=0.1, granularity="model")
    step, retain, forget = -flat(gradients), flat(r), flat(f)
    # Torchjd adds 1e-4 of the trace to the Gram matrix's diagonal, and solves that problem.
    slack = 1.001e-4 * (retain @ retain + forget @ forget) * decision.weights[0].abs()
    assert step @ retain <= slack[0]
    assert step @ forget >= -slack[1]
    if retain @ forget <= 0:
        torch.testing.assert_close(flat(gradients), 0.5 * retain - 0.5 * forget)


def test_numbers_by_hand():
    """r = (2, 0) and f = (1, 1), so that -f = (-1, -1) conflicts with r."""
    gram = [[4.0, 2.0], [2.0, 2.0]]
    # The mean (1/2, -1/2) harms neither.
    assert weights("jd-dualproj", gram) == pytest.approx([0.5, -0.5], abs=1e-4)
    # Each is projected off the other, as in PCGrad, and the mean of the two is (1/4, -1/2) + (0, -1/4).
    assert weights("jd-upgrad", gram) == pytest.approx(weights("pcgrad", gram), abs=1e-3)
    # The closest point to the origin between (2, 0) and (-1, -1) is (0.2, -0.6), 2/5 of the way from the latter.
    assert weights("jd-mgda", gram) == pytest.approx([0.4, -0.6], abs=1e-9)
    # Equal projections on the unit vectors: a 2 + c sqrt(2) for r, and the weights sum to 1.
    a, minus_c = weights("jd-imtlg", gram)
    assert a - minus_c == pytest.approx(1)
    step = torch.tensor([2 * a + minus_c * 1, minus_c * 1])
    assert step[0] == pytest.approx((-step[0] - step[1]) / 2**0.5)


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e20])
def test_weights_do_not_depend_on_the_scale(name, scale):
    """Torchjd's own guards would treat the gradients as zeros at 1e-3."""
    expected = weights(name, [[4.0, 2.0], [2.0, 2.0]])
    small = [[4.0 * scale**2, 2.0 * scale**2], [2.0 * scale**2, 2.0 * scale**2]]
    assert weights(name, small) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_totals_are_torchjds(name):
    a, b = weights(name, [[4.0, 2.0], [2.0, 2.0]])
    total = a - b
    if name in ("jd-mgda", "jd-imtlg"):
        assert total == pytest.approx(1)
    elif name == "jd-alignedmtl":
        assert total < 1
    else:
        assert total >= 1 - 1e-6


@pytest.mark.parametrize("name", AGGREGATORS)
def test_blocks_that_are_not_finite_leave_the_others_alone(name):
    good = [[4.0, 2.0], [2.0, 2.0]]
    gram = torch.tensor(
        [good, [[float("nan")] * 2] * 2, [[float("inf"), 0.0], [0.0, 1.0]]], dtype=torch.float64
    )
    decision = METHODS[name].weighting(gram, context(name))
    assert decision.weights[0].tolist() == weights(name, good)
    assert not decision.finite


def test_torchjd_is_imported_with_the_first_step_alone():
    code = (
        "import sys, torch, hamu_ray.methods as methods;"
        "method = methods.METHODS['jd-mgda'];"
        "print('torchjd' in sys.modules);"
        "context = methods.Context(lr=0.1, hyperparameters=method.hyperparameters());"
        "method.weighting(torch.eye(2)[None].double(), context);"
        "print('torchjd' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("missing", ["torchjd", "quadprog"])
def test_what_is_missing_is_named_with_the_remedy(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)  # Python's marker for a module that cannot be imported
    with pytest.raises(
        ValueError, match=rf'jd-dualproj needs {missing}, .*pip install "hamu-ray\[torchjd\]"'
    ):
        check_installed("jd-dualproj")
    _load.cache_clear()
    r, f = normal(1), scaled(normal(2), 0.5)
    with pytest.raises(ImportError, match=r'pip install "hamu-ray\[torchjd\]"'):
        equivalent_gradients("jd-dualproj", r, f, lr=0.1)
    for name in ("hamu-q", "pcgrad"):
        check_installed(name)
