"""The custom task: the same numbers whoever measures, and no code but that which the configuration identifies."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from hamu_ray.api.definition import Definition
from hamu_ray.config.sources.files import check_run_document
from hamu_ray.tasks import build_task, forecast_data, load_data
from hamu_ray.tasks.custom.task import CustomTask
from tests.api.made_tasks import classification, regression
from tests.thread_ranks import Alone, Meeting, OneOf


def sections(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    return Definition(**task).write(folder, seed=41)


def task_of(document: dict[str, Any]) -> CustomTask:
    run = check_run_document(document, "test")
    data = load_data(run.data, torch.device("cpu"))
    task = build_task(data, forget=run.forget, model=run.model, batch_size=30, seed=run.seed)
    assert isinstance(task, CustomTask)
    return task


@pytest.mark.parametrize("made", [classification, regression])
@pytest.mark.parametrize("subset", [None, 2, 50])
def test_three_ranks_measure_what_one_does(tmp_path: Path, made: Any, subset: int | None) -> None:
    """Also where a rank has no example."""
    task = task_of(sections(tmp_path, made()))
    model = task.build_model(seed=1)
    alone = task.evaluate(model, Alone(), subset=subset)
    meeting = Meeting(3)
    with ThreadPoolExecutor(3) as pool:
        measured = list(
            pool.map(
                lambda rank: task.evaluate(copy.deepcopy(model), OneOf(rank, 3, meeting), subset=subset),
                range(3),
            )
        )
    assert measured[0] == measured[1] == measured[2]
    assert measured[0] == pytest.approx(alone, rel=1e-5)
    losses = [one.per_item["forget_losses"] for one in (*measured, alone)]  # type: ignore[attr-defined]
    assert losses[0] == losses[1] == losses[2] == pytest.approx(losses[3], rel=1e-5)
    reference = task.evaluate(model, Alone())  # compared on the same draw
    for one in (alone, reference):  # in batches of other sizes, losses differ in the last digits
        one.per_item = {name: [round(value, 4) for value in values] for name, values in one.per_item.items()}
    assert task.compare(alone, None, reference)["forget_quality"] == 1.0


def test_forward_takes_the_examples_that_are_asked_for(tmp_path: Path) -> None:
    made = classification()
    task = task_of(sections(tmp_path, made))
    numbers = torch.tensor([0, 119, 120, 159])
    outputs = task.forward(task.build_model(seed=1), numbers)
    expected = [made["retain"][0], made["retain"][119], made["forget"][0], made["forget"][39]]
    assert outputs.labels.tolist() == [int(target) for _, target in expected]


def test_a_role_loads_only_the_dataset_that_it_trains_on(tmp_path: Path) -> None:
    task = task_of(sections(tmp_path, classification()))
    task.forward(task.build_model(seed=1), task.splits["forget"][:3])
    assert "forget" in vars(task.data)
    assert not {"retain", "test"} & vars(task.data).keys()


class Payload:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


def test_a_pickle_that_the_configuration_does_not_identify_is_not_loaded(tmp_path: Path) -> None:
    document = sections(tmp_path, classification())
    for path in (tmp_path / "tasks" / "objects").iterdir():
        path.write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(ValueError, match=r"is not the file that data.digest identifies; it is not loaded"):
        task_of(document).build_model(seed=1)
    assert not (tmp_path / "ran").exists()
    description = Path(document["data"]["path"]) / "task.json"
    description.write_text(description.read_text().replace('"classes": 3', '"classes": 2'))
    with pytest.raises(ValueError, match=r"task.json is not the file"):
        task_of(document)


def test_the_forecast_counts_without_loading(tmp_path: Path) -> None:
    run = check_run_document(sections(tmp_path, classification()), "test")
    for path in (tmp_path / "tasks" / "objects").iterdir():
        path.unlink()
    lines = list(forecast_data(run.data, run.forget, run.seed, run.model).lines())
    assert [line.split() for line in lines[:3]] == [
        ["forget", "40", "examples"],
        ["retain", "120", "examples"],
        ["test", "80", "examples"],
    ]
