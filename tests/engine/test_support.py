"""The weights that a run may change, and those that stay as they are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cheap_runs import cheap_run, done, same_bits
from torch import Tensor, nn

from hamu_ray.config.sources.files import ConfigError, check_run_document
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_model, load_tensors
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.engine.unlearn import support_masks
from hamu_ray.methods import equivalent_gradients
from hamu_ray.pairing.group import Alone
from hamu_ray.pairing.roles import Role
from hamu_ray.pairing.support import largest, named_masks, salient_masks, trainable

Bases = tuple[StoredModel, StoredModel]
HARSH: list[dict[str, Any]] = [
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.05},
    {"name": "adamw", "weight_decay": 0.1, "learning_rate": 0.01},
    {"name": "sgd", "learning_rate": 0.05},
]


def original(resident: Resident, bases: Bases, run: Any) -> nn.Module:
    model = resident.task(run).build_model(run.seed)
    load_model(model, bases[0].path)
    return model


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value != before[name] for name, value in after.items() if name in before}


@pytest.mark.parametrize("optimizer", HARSH, ids=["momentum", "adamw", "sgd"])
@pytest.mark.parametrize("method", ["hamu-q", "gdiff", "ft", "l1-sparse"])
def test_what_is_outside_keeps_its_bits(
    method: str, optimizer: dict[str, Any], resident: Resident, bases: Bases, tmp_path: Path
) -> None:
    support = {"kind": "saliency", "fraction": 0.3}
    run = cheap_run(method={"name": method}, optimizer=optimizer, support=support)
    task, model = resident.task(run), original(resident, bases, run)
    masks = support_masks(run, task, model)
    assert masks is not None
    found = changed(load_tensors(bases[0].path)[0], done(run, resident, tmp_path).weights)
    inside = sum(int(mask.sum()) for mask in masks.values())
    assert inside == round(0.3 * sum(mask.numel() for mask in masks.values()))
    assert not any((found[name] & ~mask).any() for name, mask in masks.items())
    assert sum(int(found[name].sum()) for name in masks) > 0.5 * inside


def test_the_saliency_is_that_of_the_forget_loss_in_one_pass(resident: Resident, bases: Bases) -> None:
    """With micro-batches, against one backward pass over the whole forget set in eval mode."""
    run = cheap_run(support={"kind": "saliency", "fraction": 0.25}, batch={"micro": 7})
    task, model = resident.task(run), original(resident, bases, run)
    masks = support_masks(run, task, model.train())
    assert masks is not None
    assert model.training
    outputs = task.forward(model.eval(), task.splits["forget"])
    loss = nn.functional.cross_entropy(outputs.logits, outputs.labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    sizes = torch.cat([gradient.abs().flatten() for gradient in gradients])
    chosen = torch.cat([masks[name].flatten() for name, _ in trainable(model)])
    assert sizes[chosen].min() >= sizes[~chosen].max() * (1 - 1e-4)


def test_hamu_solves_its_problem_on_the_subspace(resident: Resident, bases: Bases) -> None:
    """Its step is that for a model which has no other weights."""
    hamu = {"name": "hamu-q", "constraint_fraction": 0.5, "granularity": "model"}
    run = cheap_run(
        method=hamu,
        support={"kind": "saliency", "fraction": 0.2},
        optimizer={"learning_rate": 0.01, "clip_norm": 0.5},
    )
    task, model = resident.task(run), original(resident, bases, run)
    masks = support_masks(run, task, model)
    plan = unlearning_plan(run, task.splits)
    names = [name for name, _ in trainable(model)]
    chosen = torch.cat([masks[name].flatten() for name in names])

    def gradient(role: Role, objective: Any) -> Tensor:
        outputs = task.forward(model.eval(), plan.sides[role].batches(0))
        loss = nn.functional.cross_entropy(outputs.logits, outputs.labels)
        parts = torch.autograd.grad(loss, list(model.parameters()))
        return torch.cat([part.flatten() for part in parts])[chosen]

    r, f = (gradient(role, plan.sides[role].objective) for role in Role)
    (expected,), decision = equivalent_gradients(
        "hamu-q", [r], [f], lr=0.01, clip_norm=0.5, constraint_fraction=0.5, granularity="model"
    )
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    diagnostics, actual = PairedStep(task, model, plan, Alone(), {}, masks)(0)
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - before
    assert not moved[~chosen].any()
    torch.testing.assert_close(moved[chosen], -0.01 * expected, rtol=2e-2, atol=1e-6)
    torch.testing.assert_close(actual.weights, decision.weights, rtol=1e-3, atol=1e-6)
    assert diagnostics["constraint_shortfall"] == 0


def test_layers_by_name(resident: Resident, bases: Bases, tmp_path: Path) -> None:
    run = cheap_run(support={"kind": "layers", "names": ["blocks.8", "head.bias"]})
    found = changed(load_tensors(bases[0].path)[0], done(run, resident, tmp_path).weights)
    names = {name for name, mask in found.items() if mask.any()}
    model = original(resident, bases, run)
    parameters = {name for name, _ in trainable(model)}
    assert names & parameters
    assert {name for name in names & parameters if not name.startswith("blocks.8.")} == {"head.bias"}
    assert {name for name in parameters if name.startswith("blocks.8.")} <= names
    with pytest.raises(ValueError, match=r"support.names: 'heads' names no .*; the nearest name is head"):
        named_masks(model, ["blocks.?", "heads"])


def test_salun_is_random_labels_on_the_salient_weights(
    resident: Resident, bases: Bases, tmp_path: Path
) -> None:
    salun = done(cheap_run(method={"name": "salun", "saliency": 0.4}), resident, tmp_path / "salun")
    parts = {
        "method": {"name": "gdiff", "forget_objective": "random_label"},
        "support": {"kind": "saliency", "fraction": 0.4},
    }
    assert same_bits(salun.weights, done(cheap_run(**parts), resident, tmp_path / "parts").weights)
    both = {"method": {"name": "salun", "saliency": 0.5}, "support": {"kind": "layers", "names": ["head"]}}
    run = cheap_run(**both)
    masks = support_masks(run, resident.task(run), original(resident, bases, run))
    inside = {name: int(mask.sum()) for name, mask in masks.items() if mask.any()}
    assert set(inside) <= {"head.weight", "head.bias"}
    assert sum(inside.values()) == round(0.5 * sum(masks[n].numel() for n in ("head.weight", "head.bias")))


def test_salun_takes_its_fraction_of_the_salient_weights(resident: Resident, bases: Bases) -> None:
    """Neither of the two fractions is without effect."""
    run = cheap_run(method={"name": "salun", "saliency": 0.25}, support={"kind": "saliency", "fraction": 0.4})
    masks = support_masks(run, resident.task(run), original(resident, bases, run))
    assert masks is not None
    inside, size = (
        sum(int(count) for count in counts)
        for counts in zip(*((m.sum(), m.numel()) for m in masks.values()), strict=True)
    )
    assert inside == round(0.1 * size)


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0, 2.0, 0.0], [0.0] * 5, [1.0, 1.0, 1.0, 0.0, 2.0]])
def test_the_largest_are_as_many_as_asked_for(values: list[float]) -> None:
    given = torch.tensor(values)
    order = sorted(range(5), key=lambda place: (-values[place], place))
    for count in range(1, 6):
        assert largest(given, count).nonzero().flatten().tolist() == sorted(order[:count])


def test_parameters_without_a_gradient_are_not_salient() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "other": nn.Linear(2, 1)})
    masks = salient_masks(model, [model["used"](torch.ones(1, 2)).sum()], 0.5)
    assert {name: bool(mask.all()) for name, mask in masks.items()} == {
        "used.weight": True,
        "used.bias": True,
        "other.weight": False,
        "other.bias": False,
    }


@pytest.mark.parametrize(
    ("support", "message"),
    [
        ({"kind": "layers"}, "support.names: layers needs names of parameters or modules"),
        ({"names": ["head"]}, "support.names: has no effect without a kind; set support.kind to layers"),
        ({"fraction": 0.1}, "support.fraction: has no effect without a kind; set support.kind to saliency"),
        ({"kind": "salient"}, "support.kind: expected all, saliency or layers, found 'salient'"),
        ({"kind": "saliency", "fraction": 0.0}, "support.fraction: expected a number above 0"),
    ],
)
def test_mistakes_are_one_line(support: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_run_document({"support": support}, "run.yaml")
    assert str(caught.value).startswith(f"run.yaml: {message}")
