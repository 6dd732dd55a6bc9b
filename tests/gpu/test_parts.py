"""Each part passes here, and fails where what it checks is broken on purpose."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hamu_ray.engine.files.checkpoint import Checkpoints, Progress
from hamu_ray.engine.step import PairedStep
from scripts.gpu.images import RandomImages
from scripts.gpu.machine import Machine
from scripts.gpu.parts import evaluation, golden, group, hours, resume, speed, waits
from scripts.gpu.plans import HAMU
from scripts.gpu.record import Record, Status

ROOT = Path(__file__).parents[2]


def failed(records: list[Record]) -> list[str]:
    return [record.name for record in records if record.status is Status.FAILED]


def test_a_wrong_golden_value_fails(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = dict(np.load(golden.ARCHIVE))
    cases = json.loads(arrays["meta"].tobytes())["cases"]
    index = next(i for i, case in enumerate(cases) if case["kind"] != "nearly_colinear")
    assert not failed(list(golden.check(machine)))
    arrays[f"{index}/grad"] = arrays[f"{index}/grad"] * np.float32(1 + 2e-5)
    np.savez(tmp_path / "wrong.npz", **arrays)
    monkeypatch.setattr(golden, "ARCHIVE", tmp_path / "wrong.npz")
    records = list(golden.check(machine))
    assert failed(records) == ["float32", "float64"]
    assert f"case {index} " in records[0].why


WAITS = {
    "item": lambda values: values[0].item(),
    "float": lambda values: float(values[0]),
    "bool": lambda values: bool(values[0] > 0),
    "tolist": lambda values: values[:2].tolist(),
    "numpy": lambda values: values[:2].numpy(),
    "cpu": lambda values: values[:2].cpu(),
    "nonzero": lambda values: values.nonzero(),
    "a mask": lambda values: values[values > 0],
    "masked_select": lambda values: values.masked_select(values > 0),
}


@pytest.fixture(scope="module")
def images() -> RandomImages:
    return RandomImages(16, torch.device("cpu"))


@pytest.mark.parametrize("name", WAITS)
def test_a_planted_wait_fails(
    name: str, images: RandomImages, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = PairedStep._apply

    def waiting(self: PairedStep, local: dict, step: int) -> Any:
        if step == waits.STEPS[-1]:
            WAITS[name](self.flat.values)
        return apply(self, local, step)

    monkeypatch.setattr(PairedStep, "_apply", waiting)
    record = waits._checked("planted", images, images.build_model(0), "gdiff", HAMU, 4, machine)
    assert record.status is Status.FAILED
    assert record.why.startswith("sgd: ")
    assert "adamw: " in record.why


@pytest.mark.parametrize("method", ["hamu-u", "npo", "jd-upgrad"])
def test_a_step_does_not_wait_unless_documented(method: str, images: RandomImages, machine: Machine) -> None:
    settings = {**HAMU, "trust_region": True}
    record = waits._checked(method, images, images.build_model(0), method, settings, 4, machine)
    assert record.status is Status.PASSED
    assert ("waits" in record.numbers) == (method == "jd-upgrad")


@pytest.mark.parametrize("perturbed", [False, True])
def test_a_perturbed_resume_fails(perturbed: bool, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    restore = Checkpoints.restore

    def restored(self: Checkpoints, stepper: PairedStep, history: Any) -> Progress:
        progress = restore(self, stepper, history)
        if progress.steps and perturbed:
            stepper.flat.values[0] += 1e-7
        return progress

    monkeypatch.setattr(Checkpoints, "restore", restored)
    record = resume._checked("images", resume.CASES[0], "deterministic", machine)
    assert record.status is (Status.FAILED if perturbed else Status.PASSED), record.why
    assert record.numbers["resumed at"] == resume.EVERY
    assert record.numbers["same bits"] is not perturbed


def test_two_processes_are_as_one_and_a_difference_fails(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = group.results

    def perturbed(method: str, *arguments: Any) -> dict[str, Tensor]:
        found = alone(method, *arguments)
        found["losses"] += 2e-5 if method == "npo" else 0.0
        return found

    monkeypatch.setattr(group, "results", perturbed)
    records = list(group.check(machine))
    expected = [Status.NOT_RUN, Status.PASSED, Status.FAILED, Status.PASSED]
    assert [record.status for record in records] == expected, [record.why for record in records]
    assert records[-1].numbers["MB sent"] == pytest.approx(8.000004)


WASTEFUL = """
import json, subprocess, sys, time
from pathlib import Path
import torch
from hamu_ray.engine.step import PairedStep
from scripts.gpu.machine import Machine
from scripts.gpu.parts import memory

made = PairedStep.__init__

def wasteful(self, *arguments):
    made(self, *arguments)
    self.wasted = [self.flat.values + 1 for _ in range(int(sys.argv[1]))]

PairedStep.__init__ = wasteful
machine = Machine(torch.device("cpu"), Path(sys.argv[2]), time.monotonic() + 600)
memory.run_module = lambda *_, **options: subprocess.CompletedProcess(
    "here", 0, json.dumps(memory.peak_of(1024, 19, "sgd", machine)), ""
)
record = memory._checked("2e7, sgd", 1024, 19, "sgd", machine)
print(record.status, record.numbers)
"""
"""The check whose process is this one, of a step that keeps so many copies of the weights more."""


@pytest.mark.parametrize("copies", [0, 1])
def test_a_copy_more_than_the_formula_fails(copies: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WASTEFUL, str(copies), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(Status.FAILED if copies else Status.PASSED), ended.stdout


def test_speed_has_finite_shares(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.__dict__["bandwidth"] = 1e10
    machine._flops |= {"float32": 1e11, "bfloat16": 1e11}
    (record, *_) = speed._measured("tiny", 4, "float32", machine)
    assert record.status is Status.PASSED, record.why
    assert record.numbers["share of bandwidth"] > 0
    machine.__dict__["bandwidth"] = float("nan")
    (record, *_) = speed._measured("tiny", 4, "float32", machine)
    assert record.status is Status.FAILED


def test_hours_need_the_parts_before(machine: Machine) -> None:
    assert {record.status for record in hours.check(machine)} == {Status.NOT_RUN}
    machine.found |= {"step 50 bfloat16": 0.01, "step 5000 bfloat16": 0.04, "outputs": 1e-6, "metrics": 10.0}
    machine.found |= {"gradients 5000 bfloat16": 0.03, "step LoRA on 7B": 2.0, "greedy answers of 7B": 0.1}
    found = {record.name: record.numbers.get("hours") for record in hours.check(machine)}
    trial = 450 * 0.04 + 60_000 * 1e-6 + 10.0
    pair = 50 * 95_000 * 0.03 / 10_000 + 2 * (60_000 * 1e-6 + 10.0)
    assert found["cifar/job_grid"] == pytest.approx((360 * trial + 9 * pair) / 3600)
    assert found["waterdrum_tofu/constraint_sweep"] == pytest.approx(60 * (720 * 2.0 + 1600 * 0.1) / 3600)


def test_metrics_that_tell_nothing_fail(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "mia_confidence", lambda *values, seed: 0.5)
    monkeypatch.setattr(evaluation, "TRAIN", 2000)
    monkeypatch.setattr(evaluation, "TEST", 400)
    (record,) = evaluation._metrics(machine)
    assert record.status is Status.PASSED, record.why
    monkeypatch.setattr(evaluation, "auc_loss", lambda members, others: 0.5)
    (record,) = evaluation._metrics(machine)
    assert record.status is Status.FAILED
