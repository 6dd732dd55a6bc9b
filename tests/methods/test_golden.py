"""All 92 steps computed by the original HAMU code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hamu_ray.methods import Decision, equivalent_gradients

ARCHIVE = np.load(Path(__file__).parent / "golden" / "hamu_updates.npz")
META = json.loads(ARCHIVE["meta"].tobytes())
CASES = META["cases"]
SIZES = [int(np.prod(shape)) for shape in META["shapes"]]
OPTIONS = ("radius", "constraint", "constraint_split", "granularity")

TOLERANCE = {"nearly_colinear": 1e-3}
"""The original's float32 limits the precision for nearly parallel gradients."""


def array(index: int, key: str) -> Tensor:
    return torch.from_numpy(ARCHIVE[f"{index}/{key}"])


def shaped(flat: Tensor) -> list[Tensor]:
    return [part.view(shape) for part, shape in zip(flat.split(SIZES), META["shapes"], strict=True)]


def solve(index: int) -> tuple[Tensor, Decision]:
    case = CASES[index]
    # The original's gdiff was given the gradient of the negated forget loss.
    forget = array(index, "forget") * (-1 if case["method"] == "gdiff" else 1)
    gradients, decision = equivalent_gradients(
        case["method"],
        shaped(array(index, "retain")),
        shaped(forget),
        lr=case["lr"],
        infeasible="least_step",
        **{option: case[option] for option in OPTIONS if option in case},
    )
    return torch.cat([gradient.reshape(-1) for gradient in gradients]), decision


def test_there_are_as_many_as_there_should_be():
    assert len(CASES) == 92
    # Full-gradient steps of the original leave their radius, so none are included.
    assert {case.get("granularity", "tensor") for case in CASES} == {"tensor"}


@pytest.mark.parametrize("index", range(len(CASES)))
def test_step_is_the_original_codes(index):
    case = CASES[index]
    expected = array(index, "grad").double()
    actual, _ = solve(index)
    error = (actual.double() - expected).norm() / expected.norm()
    assert error < TOLERANCE.get(case["kind"], 1e-5)


@pytest.mark.parametrize("index", [i for i, case in enumerate(CASES) if case["logs"]])
def test_measures_are_the_original_codes(index):
    case = CASES[index]
    logs = {name: torch.tensor(values, dtype=torch.float64) for name, values in case["logs"].items()}
    _, decision = solve(index)
    limits = decision.constraint
    assert limits is not None
    nearly_colinear = case["kind"] == "nearly_colinear"
    torch.testing.assert_close(decision.retain_forget, logs["gradient_dot_product"], rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(decision.angle, logs["angle"], rtol=0, atol=0.05 if nearly_colinear else 1e-3)
    torch.testing.assert_close(limits.feasibility, logs["feasibility"], rtol=1e-5, atol=0)
    torch.testing.assert_close(limits.total, logs["stopping_constraint"][0], rtol=1e-6, atol=0)
    effective = decision.retain_retain if case["method"] == "hamu-q" else decision.forget_forget
    threshold = -limits.needed * effective.sqrt() / limits.radius
    torch.testing.assert_close(threshold, logs["branch_threshold"], rtol=1e-5, atol=0)
    # The original uses the conflict term in all blocks, including those without conflict.
    original = limits.available * torch.deg2rad(decision.angle).sin()
    conflict = decision.retain_forget > 0
    torch.testing.assert_close(limits.stopping_terms[conflict], original[conflict], rtol=1e-5, atol=0)
    torch.testing.assert_close(limits.stopping_terms[~conflict], limits.available[~conflict])
    assert (original.sum() < limits.total).double() == logs["stopping_met"][0]
    if not nearly_colinear:
        torch.testing.assert_close(original.sum(), logs["aggregate_stopping_rhs"][0], rtol=1e-5, atol=0)
