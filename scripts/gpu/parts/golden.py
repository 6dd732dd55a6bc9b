"""The steps that the original HAMU code computed, on the device: in float32 and in float64, against the CPU's."""

import json
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hamu_ray.methods import equivalent_gradients
from scripts.gpu.machine import ROOT, Machine
from scripts.gpu.record import Record, judged

ARCHIVE = ROOT / "tests" / "methods" / "golden" / "hamu_updates.npz"
OPTIONS = ("radius", "constraint", "constraint_split", "granularity")

TOLERANCE, NEARLY_COLINEAR = 1e-5, 1e-3
"""Largest relative error of a step; the original's float32 is the limit where gradients are nearly parallel."""


def check(machine: Machine) -> Iterator[Record]:
    archive = np.load(ARCHIVE)
    meta = json.loads(archive["meta"].tobytes())
    for dtype in (torch.float32, torch.float64):
        worst = {"original": 0.0, "cpu": 0.0}
        wrong = []
        for index, case in enumerate(meta["cases"]):
            tolerance = NEARLY_COLINEAR if case["kind"] == "nearly_colinear" else TOLERANCE
            expected = torch.from_numpy(archive[f"{index}/grad"]).double()
            inputs = [torch.from_numpy(archive[f"{index}/{key}"]).to(dtype) for key in ("retain", "forget")]
            found = solved(case, meta["shapes"], [flat.to(machine.device) for flat in inputs])
            errors = {"original": _error(found, expected)}
            if machine.cuda:
                errors["cpu"] = _error(found, solved(case, meta["shapes"], inputs))
            if not max(errors.values()) < tolerance:
                wrong.append(f"case {index} ({case['method']}, {case['kind']}): {max(errors.values()):.2g}")
            if tolerance == TOLERANCE:
                worst = {name: max(worst[name], errors.get(name, 0.0)) for name in worst}
        name = str(dtype).removeprefix("torch.")
        numbers = {"cases": len(meta["cases"]), "worst relative error": worst["original"]}
        if machine.cuda:
            numbers["worst against the CPU"] = worst["cpu"]
        yield judged(name, not wrong, f"{len(wrong)} wrong: {'; '.join(wrong[:3])}", **numbers)


def solved(case: dict, shapes: list[list[int]], inputs: list[Tensor]) -> Tensor:
    """Return a case's step, flat float64 on the CPU."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    retain, forget = (
        [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)] for flat in inputs
    )
    if case["method"] == "gdiff":  # the original's was handed the gradient of the negated forget loss
        forget = [-part for part in forget]
    options = {option: case[option] for option in OPTIONS if option in case}
    options["infeasible"] = "least_step"  # as the original does
    gradients, _ = equivalent_gradients(case["method"], retain, forget, lr=case["lr"], **options)
    return torch.cat([gradient.reshape(-1) for gradient in gradients]).cpu().double()


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
