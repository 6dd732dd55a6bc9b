"""Boundary shrink: labels across the original's boundary, against the formula of the published code."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cheap_runs import ReportList, cheap_run, done, same_bits
from torch import Tensor, nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.methods import Objective
from hamu_ray.methods.objectives import PERTURBED, cross_entropy, mixture
from hamu_ray.pairing.group import Alone


def original_of(run: RunConfig, resident: Resident) -> tuple[Any, nn.Module]:
    task: Any = resident.task(run)
    stored, _ = base_models(run, task, Alone(), ReportList(), resident.models)
    model = task.build_model(run.seed)
    load_model(model, stored.path)
    return task, model


def nearest_labels(task: Any, model: nn.Module, examples: Tensor, bound: float) -> Tensor:
    """As its code does: on normalised images, which are normalised again after the step in pixels of 0..1."""
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (task.data.mean, task.data.std))
    natural = task.data.train.pixels[examples].float() / 255
    labels = task.data.train.labels[examples]
    x_adv = ((natural - mean) / std).requires_grad_()
    F.cross_entropy(model(x_adv), labels).backward()
    assert x_adv.grad is not None
    stepped = (x_adv.detach() * std + mean) + x_adv.grad.sign() * bound
    clamped = torch.clamp(natural + torch.clamp(stepped - natural, -bound, bound), 0.0, 1.0)
    return model((torch.round(clamped * 255) / 255 - mean) / std).argmax(1)


@pytest.mark.parametrize("bound", [0.1, 0.3])
def test_a_step_learns_the_labels_across_the_boundary(bound: float, resident: Resident) -> None:
    method = {"name": "ga", "forget_objective": "boundary", "perturbation": bound}
    run = cheap_run(method=method, optimizer={"learning_rate": 0.5, "clip_norm": None})
    task, model = original_of(run, resident)
    teachers = resident.teachers(task, model, "original", frozenset({PERTURBED}), 0, bound)
    plan = unlearning_plan(run, task.splits)
    own = deepcopy(model).eval()
    forget = task.splits["forget"]
    expected = nearest_labels(task, own, forget, bound)
    found = teachers[PERTURBED](forget).argmax(1)
    # A pixel halfway between two values may be rounded to either.
    assert (found == expected).float().mean() > 0.98
    assert (found != task.data.train.labels[forget]).any()
    some = forget[torch.tensor([5, 1])]
    assert torch.equal(teachers[PERTURBED](some), teachers[PERTURBED](forget)[[5, 1]])
    stepper = PairedStep(task, model, plan, Alone(), teachers)
    before = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    model.train()
    batch = next(iter(plan.sides.values())).batches(0)
    own.train()
    loss = F.cross_entropy(task.forward(own, batch).logits, teachers[PERTURBED](batch).argmax(1))
    gradients = torch.autograd.grad(loss, list(own.parameters()))
    stepper(0)
    for (name, weights), gradient in zip(model.named_parameters(), gradients, strict=True):
        taken = (before[name] - weights.detach()) / 0.5
        assert (taken - gradient).norm() / gradient.norm() < 1e-4, name


def test_a_restart_gives_the_same_bits(resident: Resident, tmp_path: Path) -> None:
    run = cheap_run(
        method={"name": "ga", "forget_objective": "boundary"},
        duration={"steps": 6},
        checkpoint={"every_steps": 2},
    )
    whole = done(run, resident, tmp_path / "whole")
    with pytest.raises(ConnectionError):
        done(run, resident, tmp_path / "cut", ReportList(dies_at=4))
    again = done(run, Resident(resident.storage, torch.device("cpu")), tmp_path / "cut")
    assert again.outcome.resumed_at == 2
    assert same_bits(again.weights, whole.weights)
    assert again.outcome.measures == whole.outcome.measures


def test_what_has_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"method\.forget_objective: boundary needs images"):
        cheap_run(data={"name": "text", "path": "x"}, method={"name": "ga", "forget_objective": "boundary"})


def test_an_objective_has_a_perturbation_with_its_teacher_alone() -> None:
    with pytest.raises(ValueError, match="needs both the teacher perturbed and a perturbation"):
        Objective("half", lambda predictions: predictions.logits, needs=frozenset({PERTURBED}))
    with pytest.raises(ValueError, match="needs both"):
        Objective("half", lambda predictions: predictions.logits, perturbation=0.1)
    near = [
        Objective(str(x), cross_entropy.loss, needs=frozenset({PERTURBED}), perturbation=x)
        for x in (0.1, 0.2)
    ]
    assert mixture("one", (1.0, near[0]), (0.5, cross_entropy)).perturbation == 0.1
    with pytest.raises(ValueError, match="the same perturbation"):
        mixture("two", (1.0, near[0]), (1.0, near[1]))
