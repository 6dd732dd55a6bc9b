"""RMU: objectives that see hidden states, against a plain implementation on the model of `transformers`."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cheap_runs import ReportList, done
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.methods import METHODS, Objective, Predictions, forget_objective
from hamu_ray.methods.catalogue.rmu import control_vector
from hamu_ray.methods.draws import uniform
from hamu_ray.methods.objectives import HIDDEN, cross_entropy, mixture
from hamu_ray.pairing.group import Alone
from hamu_ray.pairing.roles import Role
from tests.made_texts import text_run


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return Resident(tmp_path_factory.mktemp("texts-storage"), torch.device("cpu"))


def plain_gradients(run: RunConfig, task: Any, model: Any, original: Any, layer: int) -> torch.Tensor:
    """The gradient of ``w retain + (1 - w) forget`` loss, text by text, from `output_hidden_states`."""
    plan = unlearning_plan(run, task.splits)
    width = model.config.hidden_size
    vector = uniform(run.seed, width, torch.device("cpu")).float()
    total = torch.zeros(())
    for role, weight in ((Role.RETAIN, 0.5), (Role.FORGET, 0.5)):
        losses = []
        for example in plan.sides[role].batches(0).tolist():
            batch = task._texts.batch(torch.tensor([example]))
            # The states before block i + 1 are those after block i.
            own, kept = (
                each(input_ids=batch.tokens, output_hidden_states=True).hidden_states[layer + 1]
                for each in (model, original)
            )
            for column in batch.columns.tolist():
                wanted = kept[0, column].detach() if role is Role.RETAIN else 6.5 * vector / vector.norm()
                losses.append(F.mse_loss(own[0, column], wanted))
        total = total + weight * torch.stack(losses).mean()
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if found is None else found.flatten()
            for p, found in zip(
                model.parameters(),
                torch.autograd.grad(total, list(model.parameters()), allow_unused=True),
                strict=True,
            )
        ]
    )


@pytest.mark.parametrize("micro", [None, 2])
def test_a_step_of_rmu_is_the_papers(micro: int | None, texts: Resident, text_corpus: Path) -> None:
    run = text_run(
        text_corpus,
        method={"name": "rmu", "layer": 0},
        optimizer={"learning_rate": 0.5, "clip_norm": None},
        batch={"retain": 7, "forget": 5, "micro": micro},
    )
    task: Any = texts.task(run)
    stored, _ = base_models(run, task, Alone(), ReportList(), texts.models)
    model = task.build_model(run.seed)
    load_model(model, stored.path)
    original = deepcopy(model)
    teacher = task.teacher(model)
    with torch.no_grad():  # away from the original, where the retain loss is 0
        for parameter in model.parameters():
            parameter.mul_(1.1)
    expected = plain_gradients(run, task, model, original, layer=0)
    stepper = PairedStep(task, model, unlearning_plan(run, task.splits), Alone(), {"original": teacher})
    before = stepper.flat.values.clone()
    stepper(0)
    found = ((before - stepper.flat.values) / 0.5)[: len(expected)]
    assert expected.norm() > 1e-3
    assert (found - expected).norm() / expected.norm() < 1e-4


def test_later_blocks_stay_and_the_seed_draws_the_direction(
    texts: Resident, text_corpus: Path, tmp_path: Path
) -> None:
    runs = {
        seed: text_run(text_corpus, method={"name": "rmu", "layer": 0}, seed=seed, training={"seed": 1})
        for seed in (1, 2)
    }
    ended = {seed: done(run, texts, tmp_path / str(seed)).weights for seed, run in runs.items()}
    task: Any = texts.task(runs[1])
    stored, _ = base_models(runs[1], task, Alone(), ReportList(), texts.models)
    model: nn.Module = task.build_model(1)
    load_model(model, stored.path)
    before = model.state_dict()
    moved = {name for name, weights in ended[1].items() if not torch.equal(weights, before[name])}
    assert any("layers.0." in name for name in moved)
    assert not any("layers.1." in name for name in moved)
    one, other = (
        control_vector(Predictions(torch.zeros(1, 16), torch.zeros(1), torch.zeros(1), 1, seed=seed))
        for seed in (1, 2)
    )
    assert one.norm() == pytest.approx(1)
    assert (one >= 0).all()
    assert not torch.allclose(one, other)


def test_hamu_guarantees_rmus_objective_with_the_cross_entropy_to_retain(
    texts: Resident, text_corpus: Path, tmp_path: Path
) -> None:
    run = text_run(text_corpus, method={"name": "hamu-q", "forget_objective": "rmu", "layer": 1})
    history = done(run, texts, tmp_path / "run").recorder.history
    assert all(value > 0 for value in history["promised_forget_change"])
    assert history["step_forget_loss"][-1] > history["step_forget_loss"][0]


def test_a_block_that_does_not_exist_is_one_line(texts: Resident, text_corpus: Path, tmp_path: Path) -> None:
    run = text_run(text_corpus, method={"name": "rmu", "layer": 2})
    with pytest.raises(
        ValueError, match=r"method\.layer: must be below 2, the number of the model's blocks, found 2"
    ):
        done(run, texts, tmp_path / "run")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({}, "method.name: rmu needs the hidden states of a language model; choose another"),
        (
            {"data": {"name": "tofu"}, "workers": {"count": 2, "shards": 2}},
            "workers.shards: rmu needs hidden states of a whole model; set it to 1",
        ),
    ],
)
def test_who_has_no_hidden_states_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig.model_validate({"method": {"name": "rmu"}, **sections})


def test_half_an_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="has a layer but does not need hidden"):
        Objective("o", METHODS["rmu"].forget.loss, layer=3)
    assert HIDDEN in METHODS["rmu"].retain.needs


def test_a_mixture_sees_the_hidden_states_of_one_block() -> None:
    first, second = (forget_objective("rmu", layer=layer) for layer in (1, 2))
    mixed = mixture("both", (0.5, first), (0.5, first))
    assert (mixed.layer, mixed.needs) == (1, first.needs)
    for other in (second, cross_entropy):
        with pytest.raises(
            ValueError, match="'both' must all see logits, or hidden states of the same block"
        ):
            mixture("both", (0.5, first), (0.5, other))


@pytest.mark.parametrize("forget", [None, replace(METHODS["rmu"].forget, layer=None)])
def test_a_method_without_a_layer_is_refused(forget: Objective | None) -> None:
    with pytest.raises(
        ValueError, match="its objectives need hidden states, and its forget objective names no"
    ):
        replace(METHODS["rmu"], forget=forget)
