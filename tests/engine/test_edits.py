"""Edits, which change the original once, without steps: SSD against its published formula."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cheap_runs import cheap_run, done, same_bits
from torch import Tensor, nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import edit_model, support_masks
from hamu_ray.results.outcome import Status
from hamu_ray.tasks.task import Task
from tests.made_texts import LORA

Bases = tuple[StoredModel, StoredModel]


def original_of(run: RunConfig, task: Task, bases: Bases) -> nn.Module:
    model = task.build_model(run.seed)
    load_model(model, bases[0].path)
    return model


def theirs(model: nn.Module, task: Task, alpha: float, strength: float, size: int, norm: bool) -> nn.Module:
    """The paper's edit, one weight tensor at a time, with importances accumulated by `backward`."""
    model = deepcopy(model).eval()

    def importance(examples: Tensor) -> dict[str, Tensor]:
        found = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        for batch in batches:
            model.zero_grad()
            outputs = task.forward(model, batch)
            norms = torch.norm(outputs.logits, dim=1).pow(2).mean()
            (norms if norm else F.cross_entropy(outputs.logits, outputs.labels)).backward()
            for name, p in model.named_parameters():
                found[name] += (p.grad.abs() if norm else p.grad**2) / len(batches)
        return found

    forget = task.splits["forget"]
    every = importance(torch.tensor(sorted([*task.splits["retain"].tolist(), *forget.tolist()])))
    forgotten = importance(forget)
    with torch.no_grad():
        for name, p in model.named_parameters():
            place = forgotten[name] > alpha * every[name]
            factor = strength * every[name][place] / forgotten[name][place]
            p[place] *= torch.minimum(factor, torch.ones_like(factor))
    return model


@pytest.mark.parametrize(
    "method",
    [
        {"selection": 5.0},
        {"selection": 2.0, "dampening": 0.5, "importance_batch": 200},
        {"selection": 1.5, "importance": "output_norm", "importance_batch": 64},
    ],
)
def test_ssd_is_the_papers(method: dict[str, Any], resident: Resident, bases: Bases) -> None:
    run = cheap_run(method={"name": "ssd", **method})
    task = resident.task(run)
    model = original_of(run, task, bases)
    settings = run.method.hyperparameters
    expected = theirs(
        model,
        task,
        run.method.model_dump()["selection"],
        run.method.model_dump()["dampening"],
        settings.importance_batch,
        settings.importance == "output_norm",
    )
    before = deepcopy(model.state_dict())
    edit_model(run, unlearning_plan(run, task.splits), task, model, None)
    changed = 0
    for name, weights in expected.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), weights, rtol=1e-4, atol=1e-7)
        changed += int((before[name] != weights).sum())
    assert changed > 20


def test_a_run_is_the_edit_as_its_only_step(resident: Resident, bases: Bases, tmp_path: Path) -> None:
    run = cheap_run(method={"name": "ssd", "selection": 5.0}, duration={"steps": 4}, batch={"micro": 7})
    ended = done(run, resident, tmp_path / "run")
    assert ended.outcome.status is Status.FINISHED
    sizes = {name: -(-len(part) // 48) for name, part in resident.task(run).splits.items()}
    assert ended.outcome.steps == 1
    assert [(report.step, report.total_steps) for report in ended.recorder.of("unlearning")] == [
        (0, 1),
        (1, 1),
    ]
    assert ended.outcome.gradient_computations == sizes["retain"] + 2 * sizes["forget"]
    assert ended.outcome.seconds > 0
    task = resident.task(run)
    model = original_of(run, task, bases)
    edit_model(run, unlearning_plan(run, task.splits), task, model, None)
    assert same_bits(ended.weights, model.state_dict())
    before, after = (report.measures["forget_accuracy"] for report in ended.recorder.of("unlearning"))
    assert after < before


def test_only_weights_of_the_support_are_edited(resident: Resident, bases: Bases) -> None:
    run = cheap_run(method={"name": "ssd", "selection": 1.0}, support={"kind": "saliency", "fraction": 0.1})
    task = resident.task(run)
    model = original_of(run, task, bases)
    before = deepcopy(model)
    masks = support_masks(run, task, model)
    assert masks is not None
    edit_model(run, unlearning_plan(run, task.splits), task, model, masks)
    moved = {name: p != before.get_parameter(name) for name, p in model.named_parameters()}
    assert sum(int(each.sum()) for each in moved.values()) > 10
    assert not any((each & ~masks[name]).any() for name, each in moved.items())


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"workers": {"count": 2, "shards": 2}}, "workers.shards: ssd edits a model as a whole; set it to 1"),
        (
            {"model": {"name": "a/b", "lora": LORA}},
            "method.name: ssd edits the original's weights, and a new",
        ),
    ],
)
def test_what_cannot_be_edited_is_one_line(sections: dict[str, Any], message: str) -> None:
    document = {"data": {"name": "tofu"}, "method": {"name": "ssd"}, **sections}
    with pytest.raises(ValueError, match=message):
        RunConfig.model_validate(document)
