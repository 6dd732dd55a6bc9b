"""Single runs from Python, in this process: own models, datasets, losses and metrics, and what is refused."""

import io
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, load_model
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from hamu_ray import Unlearner
from tests.api.made_tasks import (
    CLASSES,
    FEATURES,
    SHORT,
    Line,
    build,
    classification,
    closeness,
    inputs,
    regression,
    splits,
    squared,
)


def stored(storage: Path) -> list[dict[str, Any]]:
    """Return the recipes of the base models in a storage."""
    return [json.loads(path.read_text()) for path in (storage / "models").glob("*/recipe.json")]


def test_a_classifier_forgets_and_is_taken_home(tmp_path: Path) -> None:
    unlearner = Unlearner(**classification(), storage=tmp_path)
    unlearned = unlearner.run("gdiff", SHORT)
    assert unlearned.status == "finished"
    assert 0 <= unlearned.metrics["forget_quality"] <= 1
    assert unlearned.metrics["retain_utility"] == unlearned.metrics["test_accuracy"]
    folder = unlearned.save(tmp_path / "home")
    load_model(plain := build(), folder / "model.safetensors")
    batch = inputs()[:5]
    assert torch.equal(plain(batch), unlearned.load()(batch))
    assert "from tests.api.made_tasks import build as build" in (folder / "README.md").read_text()
    assert not (folder / "outcome.json").exists()


def test_the_numbers_are_those_of_torch_alone(tmp_path: Path) -> None:
    """An independent computation of loss, accuracy and own metric, from the weights that the run left."""
    task = {**regression(), "metrics": [closeness]}
    unlearned = Unlearner(**task, storage=tmp_path).run("hamu-q", SHORT)
    model = Line()
    model.load_state_dict(load_file(unlearned.folder / "model.safetensors"), strict=False)
    model.eval()
    for split in ("retain", "forget", "test"):
        rows = [task[split][index] for index in range(len(task[split]))]
        outputs = model(
            torch.stack([row[0]["values"] for row in rows]), torch.stack([row[0]["factor"] for row in rows])
        )
        targets = torch.stack([row[1] for row in rows])
        assert unlearned.metrics[f"{split}_loss"] == pytest.approx(
            squared(outputs, targets).mean().item(), rel=1e-5
        )
        assert unlearned.metrics[f"{split}_closeness"] == pytest.approx(
            closeness(outputs, targets).item(), rel=1e-5
        )
    assert unlearned.metrics["retain_utility"] == unlearned.metrics["test_closeness"]
    assert "retain_accuracy" not in unlearned.metrics


def test_npo_takes_the_own_loss_for_minus_the_log_likelihood(tmp_path: Path) -> None:
    """At the original NPO's gradient is that of the loss: the first step is gdiff's."""
    unlearner = Unlearner(**regression(), storage=tmp_path)
    one_step = {**SHORT, "duration.steps": 1, "optimizer.clip_norm": None, "optimizer.learning_rate": 0.001}
    weights = [
        load_file(unlearner.run(method, one_step).folder / "model.safetensors") for method in ("npo", "gdiff")
    ]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])


def test_base_models_are_found_again_by_what_they_are_made_of(tmp_path: Path) -> None:
    for _ in range(2):
        Unlearner(**classification(), storage=tmp_path).run("ft", SHORT)
    assert sorted(recipe["phase"] for recipe in stored(tmp_path)) == ["original", "reference"]

    def wider() -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES))

    Unlearner(**{**classification(), "model": wider}, storage=tmp_path).run("ft", SHORT)
    assert len(stored(tmp_path)) == 4  # the same weights at first, another function


def test_a_given_original_is_identified_by_its_weights(tmp_path: Path) -> None:
    task = classification()
    torch.manual_seed(3)
    trained = build()
    for _ in range(2):
        unlearned = Unlearner(**task, original=trained.requires_grad_(False), storage=tmp_path).run(
            "ft", {**SHORT, "duration.steps": 0}
        )
        batch = inputs()[:4]
        assert torch.equal(unlearned.load()(batch), trained(batch))
        with torch.no_grad():
            trained[0].weight += 1.0  # in place: the same object, another model
    assert [recipe["phase"] for recipe in stored(tmp_path)] == ["reference"]  # the original is not trained


def test_weights_that_a_module_brings_are_where_training_starts_and_are_named(tmp_path: Path) -> None:
    torch.manual_seed(5)
    task = {**classification(), "model": build()}
    unlearned = Unlearner(**task, storage=tmp_path).run("ft", SHORT)
    run = yaml.safe_load((unlearned.folder / "run.yaml").read_text())
    start = load_file(run["model"]["start"])
    assert torch.equal(start["0.weight"], task["model"][0].weight)
    outcome = json.loads((unlearned.folder / "outcome.json").read_text())
    assert outcome["reference_kind"] == "shared"
    random = Unlearner(**classification(), storage=tmp_path).run("ft", {**SHORT, "duration.steps": 0})
    assert json.loads((random.folder / "outcome.json").read_text())["reference_kind"] == "random"
    with pytest.raises(ValueError, match=r"reference.start: .*the original's own weights"):
        Unlearner(**task, original=task["model"], storage=tmp_path).run("ft", SHORT)


def unpicklable() -> Callable[..., Tensor]:
    lock = threading.Lock()

    def use(outputs: Tensor, targets: Tensor) -> Tensor:
        with lock:
            return (outputs.argmax(1) == targets).float()

    return use


class OpenFile(TensorDataset):
    def __init__(self) -> None:
        super().__init__(inputs(), torch.zeros(240, dtype=torch.int64))
        self.file = io.BufferedReader(io.FileIO(__file__))


class Shaky(TensorDataset):
    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        inputs, target = super().__getitem__(index)
        return inputs + torch.rand(()), target


def own_loss() -> Tensor:
    return torch.zeros(1)


REFUSED = {
    "loss: function cannot be sent to the workers (TypeError: ": {"loss": unpicklable()},
    "metrics: use: function cannot be sent to the workers (TypeError: ": {"metrics": [unpicklable()]},
    "test: OpenFile cannot be sent to the workers (TypeError: ": {"test": OpenFile()},
    "retain: needs a map-style dataset, with __len__ and __getitem__, found generator": {
        "retain": (x for x in range(3))
    },
    "forget: is empty": {"forget": TensorDataset(inputs()[:0], torch.zeros(0, dtype=torch.int64))},
    "forget: example 0 differs when it is read twice": {
        "forget": Shaky(inputs(), torch.zeros(240, dtype=torch.int64))
    },
    "test: an example must be a pair of inputs and target, found tuple": {"test": TensorDataset(inputs())},
    "model: needs a module, or a function that builds one, found int": {"model": 3},
    "model: cannot be built: ZeroDivisionError": {"model": lambda: 1 // 0},
    "model: the function must return a torch.nn.Module, found int": {"model": lambda: 3},
    "model: fails on the first examples to retain: RuntimeError": {
        "model": lambda: nn.Linear(FEATURES + 1, 2)
    },
    "model: must return a tensor with a row per example, found tuple": {
        "model": lambda: nn.LSTM(FEATURES, CLASSES)
    },
    "loss: must return a value per example, shape (8,), found ()": {"loss": nn.CrossEntropyLoss()},
    "loss: fails on the first examples to retain: TypeError": {"loss": own_loss},
    "loss: without one, outputs must be logits (examples, classes)": {
        "model": lambda: nn.Linear(FEATURES, 1)
    },
    "metrics: closeness must return a number": {"metrics": [closeness]},
    "metrics: <lambda> is no name for a metric": {"metrics": [lambda outputs, targets: 0.0]},
    "utility: f1 is none of the metrics (none)": {"utility": "f1"},
    "original: needs a trained module, found int": {"original": 3},
    "original: must have the layers of model: RuntimeError": {"original": nn.Linear(FEATURES, CLASSES)},
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line_that_names_it(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError) as caught:
        Unlearner(**{**classification(), **REFUSED[line]}, storage=tmp_path)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_no_classifier_without_a_metric(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metrics: the model is no classifier: give a metric"):
        Unlearner(**{**regression(), "metrics": []}, storage=tmp_path)


@pytest.mark.parametrize(
    ("method", "settings", "line"),
    [
        ("kl", {}, "methods: kl cannot be used: .*compares the probabilities of classes"),
        ("salun", {}, "methods: salun cannot be used: .*compares the probabilities of classes"),
        ("bad-teacher", {}, "methods: bad-teacher cannot be used: .*compares the probabilities of classes"),
        ("hamu", {}, "Unlearner: method.name: unknown method 'hamu'"),
        ("ft", {"duration.step": 3}, "Unlearner: duration.step: unknown key; did you mean steps"),
        ("ft", {"training.epochs": 0}, "Unlearner: training.epochs: "),
        (
            "ft",
            {"training.parameters": "lora"},
            "Unlearner: training.parameters: lora needs model.lora of a language",
        ),
        (
            "ft",
            {"training.select": "best"},
            "Unlearner: training.select: best needs accuracies, which custom tasks need not have; take last",
        ),
    ],
)
def test_settings_are_those_of_a_file_and_as_strict(
    tmp_path: Path, method: str, settings: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValueError, match=line) as caught:
        Unlearner(**regression(), storage=tmp_path).run(method, settings)
    assert "\n" not in str(caught.value)


def test_examples_to_forget_that_are_also_retained_are_refused_unless_allowed(tmp_path: Path) -> None:
    data = inputs()
    data[3] = data[125]
    task = {"model": build, **splits(TensorDataset(data, data[:, :CLASSES].argmax(1)))}
    unlearner = Unlearner(**task, storage=tmp_path)
    with pytest.raises(
        ValueError, match=r"forget: 1 examples of the retain or test set .*example 3 \(retain\) is"
    ):
        unlearner.run("ft", SHORT)
    allowed = unlearner.run("ft", {**SHORT, "duration.steps": 1, "forget.allow_overlap": True})
    assert math.isfinite(allowed.metrics["forget_quality"])
