import copy
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import DigitsData, ForgetClass, ForgetConfig, ForgetRandom
from hamu_ray.metrics import VISION, Undefined
from hamu_ray.metrics.membership import mia_confidence
from hamu_ray.metrics.undefined import reasons
from hamu_ray.tasks import build_task, load_data, metric_names
from hamu_ray.tasks.registry import forecast_data
from hamu_ray.tasks.validation import validation_mask
from hamu_ray.tasks.vision.data import VisionData
from hamu_ray.tasks.vision.measures import ALL, CHEAP
from hamu_ray.tasks.vision.task import VisionTask
from tests.thread_ranks import Alone, Meeting, OneOf


def task_on(data: VisionData, forget: ForgetConfig | None = None, **model: Any) -> VisionTask:
    task = build_task(
        data, forget=forget or ForgetClass(label=3), model=ModelConfig(**model), batch_size=100, seed=41
    )
    assert isinstance(task, VisionTask)
    return task


@pytest.fixture(scope="module")
def task(digits: VisionData) -> VisionTask:
    return task_on(digits)


@pytest.fixture(scope="module")
def model(task: VisionTask) -> nn.Module:
    """A partially trained model: two epochs on the digits."""
    model = task.build_model(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for batch in torch.randperm(2 * len(task.data.train), generator=generator).split(128):
        outputs = task.forward(model, batch % len(task.data.train))
        optimizer.zero_grad()
        functional.cross_entropy(outputs.logits, outputs.labels).backward()
        optimizer.step()
    return model


def test_digits_are_split_equally_for_all_seeds(digits: VisionData) -> None:
    again = load_data(DigitsData(), torch.device("cpu"))
    assert isinstance(again, VisionData)
    assert digits.image_shape == (1, 8, 8)
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert torch.equal(digits.test.pixels, again.test.pixels)
    assert digits.test.labels.bincount().min() >= 34
    everything = torch.cat([digits.train.pixels, digits.test.pixels]).float() / 255
    assert everything.max() == 1
    assert everything.mean().item() == pytest.approx(DigitsData.usual[0][0], abs=1e-3)
    assert everything.std().item() == pytest.approx(DigitsData.usual[1][0], abs=1e-3)


def test_forward_normalises_the_chosen_images(task: VisionTask, digits: VisionData) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return torch.zeros(len(images), 10, dtype=torch.bfloat16)

    chosen = torch.tensor([5, 0, 1436])
    outputs = task.forward(Spy(), chosen)
    expected = (digits.train.pixels[chosen].double() / 255 - DigitsData.usual[0][0]) / DigitsData.usual[1][0]
    torch.testing.assert_close(seen[0].double(), expected, rtol=0, atol=1e-6)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert outputs.logits.dtype == torch.float32
    assert torch.equal(outputs.labels, digits.train.labels[chosen])
    assert outputs.examples.tolist() == [0, 1, 2]
    assert task.count(chosen) == 3


def test_precision_and_memory_order_give_nearly_the_same_logits(digits: VisionData) -> None:
    chosen = torch.arange(50)
    logits = {}
    for precision in ("float32", "bfloat16"):
        for channels_last in (True, False):
            task = task_on(digits, precision=precision, channels_last=channels_last)
            logits[precision, channels_last] = task.forward(task.build_model(1), chosen).logits.detach()
    exact = logits["float32", True]
    torch.testing.assert_close(logits["float32", False], exact, rtol=1e-4, atol=1e-4)
    for channels_last in (True, False):
        error = (logits["bfloat16", channels_last] - exact).abs().max() / exact.abs().max()
        assert 0 < error < 0.1


def test_every_measure_has_a_name_and_only_those(task: VisionTask, model: nn.Module) -> None:
    measures = task.evaluate(model, Alone())
    compared = task.compare(measures, None, measures)
    assert tuple(measures) == ALL
    assert set(measures) | set(compared) == set(VISION) - {"forget_quality_ceiling", "validation_accuracy"}
    assert set(metric_names("vision")) > set(VISION)
    assert all(math.isfinite(value) for value in {**measures, **compared}.values())
    assert compared["avg_gap"] == 0
    assert compared["forget_quality"] == compared["forget_accuracy_quality"] == 1
    assert compared["retain_utility"] == measures["test_accuracy"]


def test_measures_by_brute_force(task: VisionTask, model: nn.Module, digits: VisionData) -> None:
    measures = task.evaluate(model, Alone())
    training = model.training
    model.eval()
    with torch.no_grad():
        train = task.forward(model, torch.arange(len(digits.train))).logits
        images = (digits.test.pixels.float() / 255 - DigitsData.usual[0][0]) / DigitsData.usual[1][0]
        test = model(images)
    model.train(training)
    is_three = digits.train.labels == 3
    confidences = {}
    for name, logits, labels in (
        ("forget", train[is_three], digits.train.labels[is_three]),
        ("retain", train[~is_three], digits.train.labels[~is_three]),
        ("test", test[digits.test.labels != 3], digits.test.labels[digits.test.labels != 3]),
    ):
        share = (logits.argmax(1) == labels).float().mean().item()
        assert measures[f"{name}_accuracy"] == pytest.approx(share, abs=1e-6)
        loss = functional.cross_entropy(logits, labels).item()
        assert measures[f"{name}_loss"] == pytest.approx(loss, rel=1e-4)
        confidences[name] = logits.softmax(1).gather(1, labels[:, None])[:, 0].numpy()
    right, three = test.argmax(1) == digits.test.labels, digits.test.labels == 3
    assert measures["test_forgotten_class_accuracy"] == pytest.approx(right[three].float().mean().item())
    assert measures["test_kept_classes_accuracy"] == pytest.approx(right[~three].float().mean().item())
    assert measures["test_kept_classes_accuracy"] == measures["test_accuracy"]
    assert measures["unlearning_accuracy"] == 1 - measures["forget_accuracy"]
    losses = functional.cross_entropy(train[is_three], digits.train.labels[is_three], reduction="none")
    assert measures.per_item["forget_losses"] == pytest.approx(losses.tolist(), rel=1e-3, abs=1e-6)
    expected = mia_confidence(confidences["retain"], confidences["test"], confidences["forget"], seed=41)
    assert measures["mia_confidence"] == pytest.approx(expected, abs=0.02)


def test_evaluation_leaves_the_model_as_it_was(task: VisionTask, model: nn.Module) -> None:
    model.train()
    frozen = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in frozen:
        module.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task.evaluate(model, Alone(), subset=5)
    assert model.training
    assert not any(module.training for module in frozen)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()


def test_three_ranks_measure_what_one_does(task: VisionTask, model: nn.Module) -> None:
    alone = task.evaluate(model, Alone())
    meeting = Meeting(3)
    with ThreadPoolExecutor(3) as pool:
        measured = list(
            pool.map(lambda rank: task.evaluate(copy.deepcopy(model), OneOf(rank, 3, meeting)), range(3))
        )
    assert measured[0] == measured[1] == measured[2]
    assert measured[0].per_item == measured[1].per_item == measured[2].per_item
    assert tuple(measured[1]) == ALL
    assert measured[0] == pytest.approx(alone, rel=1e-4, abs=1e-2)


def test_subset_is_cheap_fixed_and_within_the_splits(task: VisionTask, model: nn.Module) -> None:
    measures = task.evaluate(model, Alone(), subset=50)
    assert tuple(measures) == CHEAP
    assert measures == task.evaluate(model, Alone(), subset=50)
    whole = task.evaluate(model, Alone(), subset=10_000)
    assert whole["test_loss"] == pytest.approx(task.evaluate(model, Alone())["test_loss"], rel=1e-5)
    assert set(task.compare(measures, None, None)) == {
        "forget_quality",
        "retain_utility",
        "forget_accuracy_quality",
    }
    compared = task.compare(measures, None, task.evaluate(model, Alone()))
    assert compared["forget_quality"] == 1  # of the same images


def test_a_model_that_broke_does_not_look_good(task: VisionTask, caplog: pytest.LogCaptureFixture) -> None:
    broken = task.build_model(0)
    with torch.no_grad():
        next(broken.parameters()).fill_(math.nan)
    with caplog.at_level(logging.WARNING):
        measures = task.evaluate(broken, Alone())
        compared = task.compare(measures, None, measures)
        task.evaluate(broken, Alone())
    assert all(isinstance(value, Undefined) for value in {**measures, **compared}.values())
    messages = [record.getMessage() for record in caplog.records]
    assert "retain_accuracy is not defined: the logits of 1291 of 1291 examples are not finite" in messages
    assert len(messages) == len(set(messages))


def test_without_a_class_none_is_reported(digits: VisionData, model: nn.Module) -> None:
    task = task_on(digits, ForgetRandom(share=0.1))
    measures = task.evaluate(model, Alone())
    for name in ("test_forgotten_class_accuracy", "test_kept_classes_accuracy"):
        value = measures[name]
        assert isinstance(value, Undefined)
        assert value.reason == "the forget set is not a class"


@pytest.mark.parametrize("forget", [ForgetRandom(share=0.1), ForgetClass(label=3, rho=0.5)])
def test_without_a_reference_losses_on_test_images_of_the_same_classes_stand_for_its(
    digits: VisionData, model: nn.Module, forget: ForgetConfig
) -> None:
    task = task_on(digits, forget)
    measures = task.evaluate(model, Alone())
    compared = task.compare(measures, measures, None)
    labels = digits.train.labels[task.splits["forget"]]
    shares = torch.bincount(labels, minlength=10).double() / len(labels)
    found, known = (np.array(measures.per_item[name]) for name in ("forget_losses", "test_losses"))
    of_class = [known[(digits.test.labels == label).numpy()] for label in range(10)]
    apart = 0.0
    for loss in [*found, *known]:
        expected = sum(float(shares[label]) * (of_class[label] <= loss).mean() for label in range(10))
        apart = max(apart, abs((found <= loss).mean() - expected))
    assert compared["forget_quality"] == pytest.approx(1 - apart)
    assert 0 < compared["forget_quality"] < 1
    for name in ("forget_accuracy_quality", "avg_gap"):
        assert "there is no reference" in reasons({name: compared[name]})[name]
    assert math.isnan(task.compare(measures, None, None)["forget_quality"])


def test_without_a_reference_a_forgotten_class_is_assumed_unknown(task: VisionTask) -> None:
    compared = task.compare({"forget_accuracy": 0.2, "test_accuracy": 0.9}, None, None)
    assert compared.pop("forget_quality").reason == "there is no reference"  # type: ignore[attr-defined]
    assert compared == pytest.approx({"forget_accuracy_quality": 0.8, "retain_utility": 0.9})


@pytest.mark.parametrize("subset", [None, 20])
def test_a_sweep_selects_by_images_that_no_other_number_is_of(
    digits: VisionData, model: nn.Module, subset: int | None
) -> None:
    whole = task_on(digits)
    task = task_on(replace(digits, validation=0.25))
    assert task.fingerprint != whole.fingerprint
    held = validation_mask(len(digits.test), 0.25)
    kept = (digits.test.labels != 3).numpy()
    assert held.sum() == 90
    measures = task.evaluate(model, Alone(), subset=subset)
    compared = task.compare(measures, None, task.evaluate(model, Alone()))
    assert compared["retain_utility"] == measures["validation_accuracy"]
    if subset is None:
        images = (digits.test.pixels.float() / 255 - DigitsData.usual[0][0]) / DigitsData.usual[1][0]
        model.eval()
        with torch.no_grad():
            right = (model(images).argmax(1) == digits.test.labels).numpy()
        assert measures["validation_accuracy"] == pytest.approx(right[held & kept].mean())
        assert measures["test_accuracy"] == pytest.approx(right[~held & kept].mean())
        assert len(measures.per_item["test_losses"]) == (~held & kept).sum()
        meeting = Meeting(2)
        with ThreadPoolExecutor(2) as pool:
            ranks = list(
                pool.map(lambda rank: task.evaluate(copy.deepcopy(model), OneOf(rank, 2, meeting)), range(2))
            )
        assert ranks[0] == ranks[1]
        assert ranks[1]["validation_accuracy"] == measures["validation_accuracy"]


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_validation_part_that_leaves_nothing_is_an_error(digits: VisionData, fraction: float) -> None:
    with pytest.raises(ValueError, match=r"data\.validation: 0\..* of 360 test examples leaves none"):
        task_on(replace(digits, validation=fraction))


def test_what_will_be_tested_is_forecast_in_two_parts() -> None:
    def sizes(validation: float) -> dict[str, int]:
        forecast = forecast_data(DigitsData(validation=validation), ForgetClass(), 41, ModelConfig())
        return {name: side.examples for name, side in forecast.splits.items()}

    whole, parts = sizes(0.0), sizes(0.25)
    assert parts == {**whole, "test": 270, "validation": 90}
    assert whole["test"] == 360


def test_a_class_that_is_kept_in_part_stays_in_the_test_set(digits: VisionData, model: nn.Module) -> None:
    measured = {
        name: task_on(digits, forget).evaluate(model, Alone())
        for name, forget in (
            ("half", ForgetClass(label=3, rho=0.5)),
            ("none", ForgetRandom(share=0.1)),
        )
    }
    assert measured["half"]["test_accuracy"] == measured["none"]["test_accuracy"]
    assert measured["half"]["test_loss"] == measured["none"]["test_loss"]


def test_teacher_keeps_the_answers_of_the_model_as_it_was(digits: VisionData) -> None:
    task = task_on(digits)
    model = task.build_model(0)
    teacher = task.teacher(model)
    model.eval()
    expected = task.forward(model, torch.arange(6)).logits.detach()
    with torch.no_grad():
        next(model.parameters()).zero_()
    torch.testing.assert_close(teacher(torch.tensor([1, 4])), expected[[1, 4]])
    assert torch.equal(teacher(torch.tensor([4, 2, 1]))[[2, 0]], teacher(torch.tensor([1, 4])))
    assert not teacher(torch.tensor([1])).requires_grad
