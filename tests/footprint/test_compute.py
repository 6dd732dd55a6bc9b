"""What a dry run says of operations and time: against arithmetic, published numbers, and real runs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.files import load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import trials_of
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.footprint.cases import Case
from hamu_ray.footprint.compute.amounts import training_of, trial_of
from hamu_ray.footprint.compute.costs import Operator, Work, work_of
from hamu_ray.footprint.compute.gpus import GPUS, LAUNCH, USUAL, seconds_on
from hamu_ray.footprint.compute.statement import amount_of, state_run, state_sweep
from hamu_ray.footprint.statement import state_memory
from hamu_ray.footprint.trace import Tracer, Tracers, as_fake
from hamu_ray.pairing.group import Alone
from hamu_ray.results.outcome import Status, Verdict
from hamu_ray.tasks.forecast import Forecast, Side
from hamu_ray.tasks.registry import forecast_data, outline_of
from hamu_ray.tasks.vision import outline
from hamu_ray.tasks.vision.networks.resnet import ResNet20
from scripts.gpu.experiments import BATCH, FORGOTTEN, IMAGES, TEST, VISION, bandwidth_bound, hours
from tests.made_texts import text_run
from tests.runs import small_run

ROOT = Path(__file__).parents[2]
RESNET_20 = 41e6
"""Multiplications with additions of ResNet-20 for an image of 32x32 (He et al. 2016; tables of its implementations)."""


def of_gradient(model: nn.Module, *shape: int) -> Work:
    inputs = torch.empty(*shape)
    return work_of(lambda: model(inputs).sum().backward())


def test_a_linear_and_a_convolutional_layer() -> None:
    """The output, and the gradient of the weights; that of the second layer's inputs, too."""
    first = 2 * 8 * 16 * 32
    assert of_gradient(nn.Linear(16, 32, bias=False), 8, 16).flops == 2 * first
    second = 2 * 8 * 32 * 4
    both = nn.Sequential(nn.Linear(16, 32, bias=False), nn.Linear(32, 4, bias=False))
    assert of_gradient(both, 8, 16).flops == 2 * first + 3 * second
    one = 2 * 8 * 5 * (6 * 6) * 3 * (3 * 3)
    work = of_gradient(nn.Conv2d(3, 5, 3, bias=False), 8, 3, 8, 8)
    assert work.flops == 2 * one
    assert {operator.unit for operator in work.calls if operator.flops} == {"tf32"}


def test_attention_is_two_products_and_five_in_reverse() -> None:
    queries, keys, values = (torch.randn(2, 4, 16, 8, requires_grad=True) for _ in range(3))
    product = 2 * (2 * 4) * 16 * 16 * 8

    def attend() -> None:
        functional.scaled_dot_product_attention(queries, keys, values).sum().backward()

    assert work_of(attend).flops == 7 * product


def test_a_lookup_reads_what_it_returns() -> None:
    table, rows = torch.zeros(1000, 4), torch.arange(10)
    assert work_of(lambda: functional.embedding(rows, table)).bytes == 2 * 10 * 4 * 4 + rows.nbytes


@pytest.mark.parametrize("is_fake", [False, True])
def test_resnet_20_takes_what_is_published(is_fake: bool) -> None:
    with torch.device("meta" if is_fake else "cpu"):
        model = ResNet20(3, 10)
    model = as_fake(model) if is_fake else model
    images = next(model.parameters()).new_zeros(4, 3, 32, 32)
    outputs = work_of(lambda: model(images)).flops / 4
    stages = [(1024, 16), (256, 32), (64, 64)]
    same = sum(5 * pixels * width * width * 9 for pixels, width in stages) + 1024 * 16 * 16 * 9
    wider = sum(pixels * width * width // 2 * 9 for pixels, width in stages[1:])
    assert outputs == 2 * (1024 * 3 * 16 * 9 + same + wider + 64 * 10)
    assert outputs == pytest.approx(2 * RESNET_20, rel=0.02)
    gradient = work_of(lambda: model(images).sum().backward()).flops / 4
    assert work_of(lambda: model(images)).operators < 120
    assert gradient == pytest.approx(3 * outputs, rel=0.02)  # the pixels need no gradient


def test_an_operator_takes_the_longest_of_three() -> None:
    gpu = GPUS["H100"]
    calls = {
        Operator("bfloat16", 989 * 10**9, 10): 3.0,  # a millisecond each
        Operator("float32", 67 * 10**9, 10): 1.0,
        Operator("float32", 10, 3350 * 10**6): 2.0,
        Operator("tf32", 0, 8): 100.0,
    }
    assert seconds_on(gpu, Work(calls)) == pytest.approx(6e-3 + 100 * LAUNCH)
    assert seconds_on(gpu, Work(calls) * 2 + Work(calls)) == pytest.approx(3 * (6e-3 + 100 * LAUNCH))


def forecast_of(run: RunConfig) -> Forecast:
    return forecast_data(run.data, run.forget, run.training_seed, run.model)


RUNS: dict[str, dict[str, Any]] = {
    "two gradients": {"evaluation": {"every_steps": 2}, "training": {"epochs": 1}},
    "micro-batches, compared at every step": {
        "batch": {"micro": 16},
        "training": {"epochs": 1},
        "method": {"name": "hamu-q", "trust_region": True},
    },
    "one gradient, half of the steps": {
        "method": {"name": "ga"},
        "stop": {"after_steps": 3},
        "training": {"epochs": 1},
    },
    "a teacher": {"method": {"name": "scrub"}},
    "an edit": {"method": {"name": "ssd", "importance_batch": 100}, "training": {"epochs": 1}},
    "the best epoch": {"training": {"select": "best", "epochs": 2}, "reference": {"seeds": 2}},
}


@pytest.mark.parametrize("case", RUNS)
def test_operations_are_those_of_the_run(case: str, tmp_path: Path) -> None:
    """Of images; those of teachers, Gram matrices and test images of the forgotten class are what is left out."""
    run = RunConfig.model_validate(small_run(tmp_path, **RUNS[case]))
    resident = Resident(tmp_path, torch.device("cpu"))
    with FlopCounterMode(display=False) as counted:
        ended = unlearn(run, resident, Alone(), tmp_path / "run", lambda report: Verdict.GO_ON)
    assert ended.status is Status.FINISHED
    tracer, forecast = Tracer(outline_of(run)), forecast_of(run)
    computed = trial_of(run, tracer, forecast).work + training_of(run, tracer, forecast)
    assert computed.flops == pytest.approx(counted.get_total_flops(), rel=0.05)


def test_texts_are_as_long_as_the_longest(text_corpus: Path) -> None:
    """A gradient takes 6 operations per parameter and token (Kaplan et al. 2020), without those of the embedding."""
    wide = {"hidden_size": 384, "layers": 2, "heads": 4}
    run = text_run(text_corpus, model=wide, evaluation={"enabled": False, "every_steps": None})
    forecast = forecast_of(run)
    tracer = Tracer(outline_of(run, forecast))
    trial = trial_of(run, tracer, forecast)
    inside = sum(p.numel() for name, p in tracer.model(True).named_parameters() if "layers" in name)
    longest = max(side.longest.text for side in forecast.splits.values() if side.longest)
    assert trial.evaluations == 0
    tokens = trial.steps * trial.examples * longest
    assert 6 * inside * tokens < trial.work.flops < 1.1 * 6 * inside * tokens


def as_cifar(path: str, monkeypatch: pytest.MonkeyPatch) -> tuple[SweepConfig, Sequence[Case]]:
    """Return a sweep on CIFAR-10 and what it forgets: a class of it."""
    monkeypatch.setattr(outline, "shape_of", lambda data, model: ((3, 32, 32), 10))
    sweep = load_sweep(str(ROOT / "search_spaces" / "cifar" / path), ["training.select=last"])
    splits = {"retain": Side(IMAGES - FORGOTTEN), "forget": Side(FORGOTTEN), "test": Side(TEST)}
    return sweep, [(sweep, Forecast("images", splits, [], "0"))]


def test_hours_of_the_paper_are_those_of_the_bandwidth_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those leave out evaluations between, of base models too."""
    sweep, known = as_cifar("job_grid.yaml", monkeypatch)
    found = amount_of(sweep, known, Tracers())
    assert (found.trials, found.pairs) == (360, 9)
    assert {trial.examples for trial in found.kinds} == {2 * BATCH}
    without_metrics = bandwidth_bound(3.35e12)._replace(metrics=0.0)
    trials, pairs = hours(VISION["job_grid"], without_metrics)
    assert seconds_on(GPUS["H100"], found.work) / 3600 == pytest.approx(trials, rel=0.1)
    assert seconds_on(GPUS["H100"], found.training * 9) / 3600 == pytest.approx(pairs, rel=0.1)


def test_a_sweep_is_stated_with_the_usual_gpus_or_the_given_one(tmp_path: Path) -> None:
    document = small_run(tmp_path, method={"name": "ga"})
    space = {"method.name": {"grid": ["ga", "hamu-q"]}, "seed": {"grid": [1, 2, 3]}}
    sweep = SweepConfig.model_validate({**document, "space": space, "search": {"samples": 2}})
    known = [(sweep, forecast_of(sweep))]
    lines = [str(line) for line in state_sweep(sweep, known, None, Tracers())]
    assert " on average per trial, the largest " in lines[0]
    assert "6 steps with the gradients of 1" in lines[1]
    assert "to train base models, 3 times, unless they are stored" in lines[3]
    assert lines[4].endswith(
        "if all 12 trials take all of their steps, at least, with base models on one GPU:"
    )
    assert all(f"{name} " in lines[5] for name in USUAL)
    assert max(map(len, lines)) <= 100
    given = [str(line) for line in state_sweep(sweep, known, "V100", Tracers())]
    assert given[5].split()[0] == "V100"
    assert "H100" not in given[5]


def test_repetitions_of_a_search_have_trials_of_their_own(tmp_path: Path) -> None:
    space = {"optimizer.learning_rate": {"uniform": [0.01, 0.1]}}
    document = {**small_run(tmp_path), "space": space}
    once, thrice = (
        SweepConfig.model_validate({**document, "search": {"samples": 2, "repeats": repeats}})
        for repeats in (1, 3)
    )
    known, tracers = [(once, forecast_of(once))], Tracers()
    found = amount_of(thrice, known, tracers)
    assert found.trials == trials_of(thrice) == 6
    assert found.work.flops == pytest.approx(3 * amount_of(once, known, tracers).work.flops)


def test_gradients_are_traced_once_for_memory_and_time(tmp_path: Path) -> None:
    run = RunConfig.model_validate(small_run(tmp_path))
    case, tracers = (run, forecast_of(run)), Tracers()
    assert list(state_memory([case], device="80GB", tracers=tracers))
    gradients = tracers.of(*case).gradient
    before = gradients.cache_info().misses
    assert any(str(line).startswith("time") for line in state_run(case, None, tracers))
    assert gradients.cache_info().misses == before > 0


def test_a_run_of_which_too_little_is_known_has_no_time(tmp_path: Path) -> None:
    run = RunConfig.model_validate(small_run(tmp_path))
    lines = [str(line) for line in state_run((run, None), None, Tracers())]
    assert len(lines) == 1
    assert "not known: the size of the forget set is known once the data are loaded" in lines[0]


def test_the_documentation_has_the_same_data_sheets() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    rows = re.findall(r"^\| ([A-Z0-9, -]+[A-Z0-9]+) \| ([\d.,| ]+) \|$", text, re.M)
    found = {
        name: tuple(map(float, row.replace(",", "").split("|")))
        for names, row in rows
        for name in names.split(", ")
    }
    assert found == {name: (gpu.bandwidth, gpu.float32, gpu.tf32, gpu.bfloat16) for name, gpu in GPUS.items()}
