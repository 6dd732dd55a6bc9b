from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cheap_runs import cheap_run

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import BaseModel, train_base, training_recipe
from hamu_ray.engine.files.store import key_of
from hamu_ray.engine.files.tensors import load_tensors
from hamu_ray.engine.planning import training_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.pairing.group import Alone
from hamu_ray.pairing.roles import Role
from hamu_ray.results.outcome import Status, Verdict

BASE = BaseModel("original", 41)
RECIPE = {"epochs": 1, "batch_size": 400, "select": "last"}


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return Resident(tmp_path_factory.mktemp("storage"), torch.device("cpu"))


def trained(run: RunConfig, resident: Resident) -> dict[str, torch.Tensor]:
    task = resident.task(run)
    outcome = train_base(run, task, BASE, Alone(), lambda report: Verdict.GO_ON, resident.models)
    assert outcome.status is Status.FINISHED
    stored = resident.models.find(key_of(training_recipe(run, task, BASE)))
    assert stored is not None
    return load_tensors(stored.path)[0]


def test_recipes_without_augmentation_are_those_of_earlier_versions(resident: Resident) -> None:
    plain = cheap_run(training=RECIPE)
    recipe = training_recipe(plain, resident.task(plain), BASE)["training"]
    assert sorted(recipe) == [
        "batch_size", "epochs", "micro_batch_size", "optimizer", "parameters", "select"
    ]  # fmt: skip
    keys = set()
    for augment in (None, {}, {"crop": 1}, {"flip": False}):
        run = cheap_run(training={**RECIPE, "augment": augment})
        keys.add(key_of(training_recipe(run, resident.task(run), BASE)))
    assert len(keys) == 4


def test_augmentation_changes_the_training_alone_and_repeats_itself(
    resident: Resident, tmp_path: Path
) -> None:
    """Another process sees the same changes."""
    plain = trained(cheap_run(training=RECIPE), resident)
    run = cheap_run(training={**RECIPE, "augment": {"crop": 1, "flip": False}})
    changed = trained(run, resident)
    assert any(not torch.equal(plain[name], changed[name]) for name in plain)
    again = trained(run, Resident(tmp_path, torch.device("cpu")))
    assert all(torch.equal(again[name], changed[name]) for name in changed)


def test_parts_of_a_batch_see_the_changes_of_the_whole(resident: Resident) -> None:
    """What a worker sees of an epoch depends on the examples alone: not on its batch, and not on the step."""
    run = cheap_run(training={**RECIPE, "batch_size": 500, "augment": {}})
    task = resident.task(run)
    model = task.build_model(1).eval()
    examples = task.splits["retain"][:1000]
    forward = task.augmented(run.training.augment)

    def logits(batch_size: int, epoch: int) -> torch.Tensor:
        """Return the logits of all examples, in their order."""
        small = run.model_copy(
            update={"training": run.training.model_copy(update={"batch_size": batch_size})}
        )
        plan = training_plan(small, "original", examples, (), 41)
        plan = replace(plan, augmented=forward)
        found = torch.empty(len(examples), 10)
        batches = plan.sides[Role.RETAIN].batches
        places = {int(example): place for place, example in enumerate(examples)}
        for number in range(epoch * batches.per_pass, (epoch + 1) * batches.per_pass):
            batch = batches(number)
            with torch.no_grad():
                outputs = plan._outputs(task, model, Role.RETAIN, batch, number).logits
            found[[places[int(example)] for example in batch]] = outputs
        return found

    torch.testing.assert_close(logits(1000, 0), logits(130, 0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(1000, 0), logits(1000, 1), rtol=1e-2, atol=1e-2)


def test_only_images_are_augmented() -> None:
    with pytest.raises(ValueError, match=r"training.augment: only images can be cropped and flipped"):
        RunConfig.model_validate({"data": {"name": "tofu"}, "training": {"augment": {}}})
