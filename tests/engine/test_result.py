"""The files that a run writes."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from cheap_runs import cheap_run, done

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_model, load_tensors
from hamu_ray.engine.resident import Resident
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE, OUTCOME_FILE, RUN_FILE


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_model_gives_its_measures_again(
    channels_last: bool, resident: Resident, folder: Path, bases: tuple[StoredModel, StoredModel]
) -> None:
    original, reference = ({"path": str(base.path)} for base in bases)
    run = cheap_run(model={"channels_last": channels_last}, original=original, reference=reference)
    ended = done(run, resident, folder)
    task = resident.task(run)
    model = task.build_model(run.seed + 1)
    load_model(model, folder / MODEL_FILE)
    measures = task.evaluate(model, Alone())
    assert measures.items() <= ended.outcome.measures.items()


def test_configuration_and_outcome_are_there_to_read(resident: Resident, folder: Path) -> None:
    run = cheap_run(method={"name": "hamu-u", "constraint_ratio": 0.3})
    ended = done(run, resident, folder)
    assert RunConfig.model_validate(yaml.safe_load((folder / RUN_FILE).read_text())) == run
    outcome = json.loads((folder / OUTCOME_FILE).read_text())
    assert outcome["status"] == "finished"
    assert outcome["measures"] == ended.outcome.measures
    assert outcome["steps"] == 4
    assert outcome["gradient_computations"] == 8
    assert outcome["seconds"] > 0


@pytest.mark.parametrize("frozen", [True, False])
def test_batchnorm_keeps_its_statistics_where_frozen(
    frozen: bool, resident: Resident, folder: Path, bases: tuple[StoredModel, StoredModel]
) -> None:
    run = cheap_run(model={"freeze_batchnorm": frozen})
    before, after = load_tensors(bases[0].path)[0], done(run, resident, folder).weights
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert len(statistics) == 38
    for name in statistics:
        assert torch.equal(before[name], after[name]) == frozen, name
    learned = "blocks.0.norm1.weight"
    assert not torch.equal(before[learned], after[learned]), "its scale and shift are trained either way"


def test_one_objective_costs_one_gradient_a_step(resident: Resident, folder: Path) -> None:
    for method, gradients in (("ft", 4), ("ga", 4), ("gdiff", 8)):
        ended = done(cheap_run(method={"name": method}), resident, folder)
        assert ended.outcome.gradient_computations == gradients
        losses = {f"step_{role}_loss" for role in ("retain", "forget")} & set(ended.recorder.history)
        assert len(losses) == gradients // 4
