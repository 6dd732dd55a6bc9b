"""Counted costs against numbers worked out by hand, and the experiments against the search spaces."""

import re
from pathlib import Path

import pytest
import torch

from hamu_ray.config.sources.files import load_sweep
from hamu_ray.config.trials import trials_of
from hamu_ray.engine.loop import set_training_mode
from hamu_ray.footprint.compute.costs import work_of
from hamu_ray.tasks.vision.networks.projection_resnet import ProjectionResNet20
from scripts.gpu.experiments import (
    GRADIENT_BYTES,
    LANGUAGE,
    OUTPUT_BYTES,
    VISION,
    Speeds,
    bandwidth_bound,
    hours,
)
from scripts.gpu.images import RandomImages
from scripts.gpu.plans import gradients_of
from scripts.gpu.texts import LLAMAS, TINY, RandomTexts

FOLDER = Path(__file__).parents[2] / "search_spaces"


def test_a_product_and_a_sum() -> None:
    left, right = torch.ones(8, 16), torch.ones(16, 4)
    costs = work_of(lambda: (left @ right).view(-1).add_(1.0))
    assert costs.flops == 2 * 8 * 16 * 4
    product = 4 * (8 * 16 + 16 * 4 + 8 * 4)
    assert costs.bytes == product + 4 * (32 + 32)  # the view is free
    assert costs.operators == 2


def test_a_copy_does_not_read_its_target() -> None:
    target, source = torch.zeros(10), torch.ones(10)
    assert work_of(lambda: target.copy_(source)).bytes == 80


@pytest.mark.parametrize("name", VISION)
def test_vision_experiments_are_those_of_the_search_spaces(name: str) -> None:
    sweep, experiment = load_sweep(str(FOLDER / "cifar" / f"{name}.yaml")), VISION[name]
    assert trials_of(sweep) == experiment.trials
    runs = [sweep.example(cell) for cell in sweep.cells()]
    resolved = [sweep.resolve(values) for values in runs]
    assert {run.duration.epochs for run in resolved} == {experiment.epochs}
    assert {run.batch.retain for run in resolved} == set(experiment.batches)
    assert {run.evaluation.enabled for run in resolved} == {experiment.evaluated}
    assert len({(run.seed, run.forget.model_dump_json()) for run in resolved}) == experiment.forget_sets


@pytest.mark.parametrize("name", LANGUAGE)
def test_language_experiments_are_those_of_the_search_spaces(name: str) -> None:
    assert trials_of(load_sweep(str(FOLDER / "waterdrum_tofu" / f"{name}.yaml"))) == LANGUAGE[name]


def test_seconds_between_measured_batches() -> None:
    speeds = Speeds({100: 1.0, 200: 3.0}, image=0.0, output=0.0, metrics=0.0)
    assert [speeds.step(batch) for batch in (50, 100, 150, 200, 400)] == [1.0, 1.0, 2.0, 3.0, 6.0]
    trials, models = hours(VISION["timing_all"], Speeds({5000: 3600.0}, 0.0, 0.0, 0.0))
    assert (trials, models) == (51 * 9, 0.0)


@pytest.mark.parametrize("llama", [TINY])
def test_the_weights_of_a_llama_are_counted(llama) -> None:
    texts = RandomTexts(4, 5, llama, torch.device("cpu"))
    model = texts.build_model(0, lora=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == llama.parameters
    assert [round(size.parameters / 1e6) for size in LLAMAS.values()] == [162, 1042, 6738]


def test_the_bytes_of_an_image_are_those_that_the_documents_compute_with() -> None:
    device = torch.device("cpu")
    images = RandomImages(8, device, precision="bfloat16", build=ProjectionResNet20, test=8)
    model = images.build_model(0)
    set_training_mode(model, freeze_batchnorm=True)
    few = work_of(lambda: gradients_of(images, model, [torch.arange(4)]))
    more = work_of(lambda: gradients_of(images, model, [torch.arange(8)]))
    assert (more.bytes - few.bytes) / 4 == pytest.approx(GRADIENT_BYTES, rel=0.005)
    assert (more.flops - few.flops) / 4 == pytest.approx(0.244e9, rel=0.005)
    outputs = work_of(lambda: images.outputs(model)).bytes
    assert outputs / 16 == pytest.approx(OUTPUT_BYTES, rel=0.1)  # with the weights, which more images share


def test_the_documented_hours_are_those_of_the_bandwidth_bound() -> None:
    text = (FOLDER.parent / "docs" / "experiments.md").read_text().split("\n## ")[1]
    found = dict(re.findall(r"^\| `(\w+)` \|.*\| \d+ \| ([\d.]+) \| \d+, \d+ \|$", text, re.M))
    computed = {name: sum(hours(of, bandwidth_bound(3.35e12))) for name, of in VISION.items()}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(computed, abs=0.006)
