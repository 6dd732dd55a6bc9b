"""The penalty on the absolute weights, against the loss with the penalty as written in the paper."""

from typing import Any

import pytest
import torch
from cheap_runs import cheap_run
from torch import nn

from hamu_ray.config.sources.files import ConfigError, check_run_document
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.loop import set_training_mode
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.pairing.group import Alone
from hamu_ray.pairing.roles import Role

Bases = tuple[StoredModel, StoredModel]
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "adamw": {"name": "adamw", "learning_rate": 0.001, "weight_decay": 0.01},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["decreasing", "constant"])
def test_steps_are_those_of_the_penalised_loss(
    schedule: str, optimizer: str, resident: Resident, bases: Bases
) -> None:
    """Two models side by side: one of them with the norm in its loss, a plain optimizer and autograd."""
    method = {"name": "l1-sparse", "l1_penalty": 0.02, "l1_schedule": schedule}
    run = cheap_run(
        method=method, optimizer={**OPTIMIZERS[optimizer], "clip_norm": None}, duration={"steps": 4}
    )
    task = resident.task(run)
    plan = unlearning_plan(run, task.splits)
    models = []
    for _ in range(2):
        model = task.build_model(run.seed)
        load_model(model, bases[0].path)
        with torch.no_grad():
            next(model.parameters())[0] = 0
        set_training_mode(model, freeze_batchnorm=True)
        models.append(model)
    ours, theirs = models
    before = torch.cat([p.detach().flatten().clone() for p in theirs.parameters()])
    given = OPTIMIZERS[optimizer]
    options = {"lr": given["learning_rate"], "weight_decay": given["weight_decay"]}
    if optimizer == "sgd":
        plain: torch.optim.Optimizer = torch.optim.SGD(theirs.parameters(), momentum=0.9, **options)
    else:
        plain = torch.optim.AdamW(theirs.parameters(), **options)
    stepper = PairedStep(task, ours, plan, Alone(), {})
    for step in range(4):
        stepper(step)
        outputs = task.forward(theirs, plan.sides[Role.RETAIN].batches(step))
        norm = torch.linalg.vector_norm(torch.cat([p.flatten() for p in theirs.parameters()]), ord=1)
        gamma = 0.02 * (1 - step / 4) if schedule == "decreasing" else 0.02
        plain.zero_grad()
        (nn.functional.cross_entropy(outputs.logits, outputs.labels) + gamma * norm).backward()
        for group in plain.param_groups:
            group["lr"] = plan.learning_rate(step)
        plain.step()
    found, expected = (torch.cat([p.detach().flatten() for p in m.parameters()]) - before for m in models)
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_adapters_are_refused() -> None:
    document = {
        "data": {"name": "tofu"},
        "forget": {"kind": "split"},
        "model": {"name": "gpt2", "lora": {"rank": 2}},
        "method": {"name": "l1-sparse"},
    }
    with pytest.raises(ConfigError, match=r"method\.l1_penalty: would make the adapter sparse"):
        check_run_document(document, "run.yaml")
