"""What a dry run says of memory: against measured peaks, against arithmetic, and against a device."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.footprint.cases import cases_of
from hamu_ray.footprint.device import device_of
from hamu_ray.footprint.estimate import Estimator, with_changes
from hamu_ray.footprint.machine import Gpu, Machine
from hamu_ray.footprint.parts import exchange_bytes
from hamu_ray.footprint.phases import footprints, unlearning
from hamu_ray.footprint.statement import state_memory
from hamu_ray.footprint.trace import LiveBytes, Tracer
from hamu_ray.preflight import distinct_runs, forecasts_of
from hamu_ray.tasks.registry import forecast_data, outline_of
from tests.made_texts import LORA, text_run

ROOT = Path(__file__).parents[2]
WIDE = {"hidden_size": 384, "layers": 4, "heads": 4}
LARGE = {"hidden_size": 512, "layers": 6, "heads": 4}
MANY = {"retain": 20, "forget": 10}
CASES: dict[str, dict[str, Any]] = {
    "weights, adamw, npo": {
        "model": LARGE,
        "optimizer": {"name": "adamw"},
        "batch": {"micro": 1},
        "method": {"name": "npo"},
    },
    "activations": {"model": LARGE, "batch": MANY},
    "activations, lora, recomputed": {
        "model": {**LARGE, "lora": LORA, "gradient_checkpointing": True},
        "batch": MANY,
    },
    "an edit": {"model": LARGE, "method": {"name": "ssd", "importance_batch": 4}},
    "bfloat16": {  # few texts: slow on processors without instructions for it
        "model": {**LARGE, "precision": "bfloat16"},
        "batch": {"retain": 3, "forget": 2},
    },
}
TOLERANCE = 0.15
"""Relative difference from measured peaks, which themselves differ by some 20 MB from one process to the next."""

CHUNKS = 8e6
"""Bytes of intermediate results of Gram matrices on a CPU, which the estimate has among what is fixed."""


def run_of(corpus: Path, **sections: Any) -> RunConfig:
    return text_run(corpus, evaluation={"enabled": False, "every_steps": None}, **sections)


def estimated(run: RunConfig) -> int:
    forecast = forecast_data(run.data, run.forget, run.training_seed, run.model)
    found = footprints(run, Tracer(outline_of(run, forecast)), forecast, "host")[-1]
    return found.total - found.held["fixed"]


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_the_measured_peak(case: str, text_corpus: Path, tmp_path: Path) -> None:
    run = run_of(text_corpus, **CASES[case])
    command = [sys.executable, "-m", "tests.footprint.measured_peak", str(tmp_path), run.model_dump_json()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert estimated(run) + CHUNKS == pytest.approx(int(ended.stdout), rel=TOLERANCE)


def test_only_new_memory_counts_while_it_lives() -> None:
    known = torch.zeros(1000)
    with LiveBytes([known]) as live:
        kept = known * 2
        view = kept.view(10, 100)[1:]
        (view + 1).add_(1)
    assert (live.now, live.peak) == (4000, 4000 + 3600)


def held_by(run: RunConfig) -> dict[str, int]:
    return dict(unlearning(run, Tracer(outline_of(run)), None, "gpu").held)


def test_parts_are_those_of_the_documentation(text_corpus: Path) -> None:
    """Weights, both gradients and the optimizer's state: a copy each, and 1/N of them in N shards."""
    adamw = {"optimizer": {"name": "adamw"}}
    run = run_of(text_corpus, **adamw)
    weights = 4 * sum(p.numel() for p in outline_of(run).build(True).parameters())
    alone = held_by(run)
    assert alone["trained weights"] == weights
    assert alone["gradients"] == alone["optimizer"] == 2 * weights
    halves = held_by(run_of(text_corpus, **adamw, workers={"count": 2, "shards": 2}))
    for part in ("trained weights", "gradients", "optimizer"):
        assert halves[part] == pytest.approx(alone[part] / 2, rel=0.02)
    apart = held_by(run_of(text_corpus, **adamw, workers={"count": 4}))
    assert apart["gradients"] == weights
    assert apart["optimizer"] == pytest.approx(weights / 2, rel=0.01)
    needs_teacher = held_by(run_of(text_corpus, method={"name": "npo"}))
    assert needs_teacher["copies of weights"] == weights


@pytest.mark.parametrize(
    ("workers", "received"),
    [
        ({"count": 1}, 0),
        ({"count": 2}, 2 * 4),
        ({"count": 2, "wire": "bfloat16"}, 2 * (2 + 4)),
        ({"count": 4}, 4 + 2 * 4 / 4 + 4 + 4 / 4),
        ({"count": 4, "exchange": "all_gather"}, 4 * 4 + 2 * 4),
    ],
)
def test_received_gradients_count(workers: dict[str, Any], received: float) -> None:
    assert exchange_bytes(WorkersConfig.model_validate(workers), roles=2, count=1000) == 1000 * received


def llama_70b(folder: Path) -> Path:
    """Write the configuration of Llama 2 70B, and nothing else."""
    described = LlamaConfig(
        vocab_size=32_000,
        hidden_size=8192,
        intermediate_size=28_672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
    )
    described.save_pretrained(folder)
    return folder


def test_a_70b_model_is_known_from_its_configuration_alone(tmp_path: Path) -> None:
    model = {
        "name": str(llama_70b(tmp_path)),
        "precision": "bfloat16",
        "lora": {"target_modules": ["q_proj"]},
    }
    run = run_of(tmp_path, model=model, training={"parameters": "lora"}, workers={"count": 4, "shards": 4})
    found = unlearning(run, Tracer(outline_of(run)), None, "gpu")
    adapters = 80 * 2 * 8 * 8192
    assert (found.parameters, found.trained) == (68_976_648_192 + adapters, adapters)
    assert found.held["frozen weights"] == pytest.approx(2 * 68_976_648_192 / 4, rel=1e-4)


def machine_of(memory: float = 8e9, cores: int = 2, gpus: tuple[Gpu, ...] = ()) -> Machine:
    return Machine(cores, int(memory), gpus)


@pytest.mark.parametrize(
    ("workers", "given", "name", "room"),
    [
        ({}, None, "this host", 0.95 * 8e9 / 2),
        ({}, "10GB", "the given device", 0.95 * 10e9 / 2),
        ({"gpus": 0.5}, "10 GiB", "the given device", 0.95 * 10 * 2**30 / 2),
        ({"gpus": 1}, "H100", "H100", 0.95 * 80e9),
        ({"gpus": 1, "accelerator": "A100-80G"}, None, "A100-80G", 0.95 * 80e9),
        ({"gpus": 1}, None, "L4", 0.95 * 23e9),
    ],
)
def test_a_worker_can_use_its_part_of_the_device(
    workers: dict[str, Any], given: str | None, name: str, room: float
) -> None:
    machine = machine_of(gpus=(Gpu("L4", int(23e9)), Gpu("H100", int(85e9))))
    found = device_of(WorkersConfig.model_validate(workers), machine, given)
    assert found is not None
    assert (found.name, found.share) == (name, pytest.approx(room))


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--device-memory H10: must be a size .* did you mean H100\?"):
        device_of(WorkersConfig(), machine_of(), "H10")
    with pytest.raises(ConfigError, match=r"--device-memory 0GB: must be a size "):
        device_of(WorkersConfig(), machine_of(), "0GB")
    assert device_of(WorkersConfig(gpus=1), machine_of()) is None


def stated(run: RunConfig, **options: Any) -> list[str]:
    forecast = forecast_data(run.data, run.forget, run.training_seed, run.model)
    return [str(line) for line in state_memory([(run, forecast)], **options)]


def test_what_fits_is_stated_by_part(text_corpus: Path) -> None:
    lines = stated(run_of(text_corpus), device="4GB")
    phases = [line for line in lines if line.startswith("memory")]
    assert ["training base models with adamw" in line for line in phases] == [True, False]
    assert "unlearning with hamu-q and sgd" in phases[1]
    assert lines[-1].strip() == "fits in 3.8 GB for a worker: 95% of the 4.0 GB of the given device"
    unknown = stated(run_of(text_corpus, workers={"count": 2, "gpus": 1}), machine=machine_of())
    assert "give --device-memory 80GB, or the GPU" in unknown[-1]


def test_the_fewest_workers_count(text_corpus: Path) -> None:
    """Which have a larger part of the batch, and of the optimizer's state."""

    def lines(device: str, **workers: int) -> list[str]:
        sections = {
            "original": {"path": "x"},
            "reference": {"source": "none"},
            "optimizer": {"name": "adamw"},
        }
        run = run_of(text_corpus, model=WIDE, batch=MANY, workers={**workers, "gpus": 1}, **sections)
        return stated(run, device=device)

    fewest = lines("4GB", count=2)
    assert lines("4GB", count=4, min_count=2) == fewest != lines("4GB", count=4)
    with pytest.raises(ConfigError, match=r"unlearning with .* on 2 workers \(workers.min_count: 2\) needs "):
        lines("0.1GB", count=4, min_count=2)


@pytest.mark.parametrize(("optimizer", "most"), [("adamw", 2), ("sgd", 3)])
def test_more_than_the_fewest_workers_may_need_the_most(text_corpus: Path, optimizer: str, most: int) -> None:
    """Which exchange gradients, where a single one has none to exchange."""
    sections: dict[str, Any] = {
        "original": {"path": "x"},
        "reference": {"source": "none"},
        "optimizer": {"name": optimizer},
        "model": WIDE,
        "batch": {"retain": 8, "forget": 8, "micro": 1},
    }

    def alone(count: int) -> list[str]:
        return stated(run_of(text_corpus, workers={"count": count, "gpus": 1, **parts[count]}, **sections))

    parts: dict[int, dict[str, int]] = {1: {}, 2: {}, 3: {"forget_workers": 1}, 8: {}}
    fewest = stated(run_of(text_corpus, workers={"count": 8, "min_count": 1, "gpus": 1}, **sections))
    assert fewest == alone(most)
    assert len({tuple(alone(count)) for count in parts}) == len(parts)


def test_workers_of_a_cluster_are_not_judged_by_the_head(text_corpus: Path) -> None:
    tiny = machine_of(memory=1e6, gpus=(Gpu("T4", int(1e6)),))
    for workers in ({"count": 2}, {"count": 2, "gpus": 1}):
        run = run_of(text_corpus, workers=workers)
        with pytest.raises(ConfigError, match="more than"):
            stated(run, machine=tiny)
        lines = stated(run, machine=tiny, elsewhere=True)
        assert "no verdict: nothing is known of the workers' device; give --device-memory 80GB" in lines[-1]
    assert "fits in 3.8 GB for a worker" in stated(run_of(text_corpus), device="4GB", elsewhere=True)[-1]


def test_the_largest_forget_set_counts(tmp_path: Path) -> None:
    """Of a sweep over forget sets of 1 and of 10 % of the images, whichever comes first."""
    shares = [0.01, 0.1]
    for grid in (shares, shares[::-1]):
        sweep = SweepConfig.model_validate(
            {
                "storage": {"path": str(tmp_path)},
                "forget": {"kind": "random"},
                "method": {"name": "ga"},
                "evaluation": {"enabled": False},
                "original": {"path": "x"},
                "reference": {"source": "none"},
                "workers": {"count": 1},
                "space": {"forget.share": {"grid": grid}},
            }
        )
        known = forecasts_of(distinct_runs(sweep), "x.yaml")
        lines = [str(line) for line in state_memory(cases_of(sweep, known), device="80GB")]
        assert any("activations of 144 images" in line for line in lines), lines


REMEDIES: dict[str, tuple[dict[str, Any], float, str]] = {
    "smaller micro-batches": ({"batch": MANY}, 0.45e9, "set batch.micro: "),
    "shards": (
        {"workers": {"count": 2, "gpus": 1}, "optimizer": {"name": "adamw"}},
        0.47e9,
        "set workers.shards: 2",
    ),
}
"""Sections of a run with a wide model, the memory of a GPU, and what would make it fit."""


def test_shards_make_fit_what_may_go_on_with_fewer_workers(text_corpus: Path) -> None:
    sections, memory, remedy = REMEDIES["shards"]
    workers = {"count": 8, "min_count": 2, "gpus": 1}
    wide: dict[str, Any] = {"model": WIDE, "original": {"path": "x"}, "reference": {"source": "none"}}
    run = run_of(text_corpus, **{**wide, **sections, "workers": workers})
    with pytest.raises(ConfigError, match=f"{remedy} .*workers.min_count: null"):
        stated(run, device=f"{memory / 1e9}GB")


@pytest.mark.parametrize("case", REMEDIES)
def test_what_cannot_fit_is_refused_with_the_setting_that_would(case: str, text_corpus: Path) -> None:
    sections, memory, remedy = REMEDIES[case]
    workers = {"count": 1, "gpus": 1}
    run = run_of(
        text_corpus,
        **{
            "model": WIDE,
            "workers": workers,
            "original": {"path": "x"},
            "reference": {"source": "none"},
            **sections,
        },
    )
    with pytest.raises(ConfigError) as refused:
        stated(run, source="run.yaml", device=f"{memory / 1e9}GB")
    message = str(refused.value)
    assert message.startswith("run.yaml: unlearning with hamu-q and ")
    assert remedy in message


def test_a_proposed_setting_makes_the_run_fit(text_corpus: Path) -> None:
    """Down to a device that nothing makes it fit."""
    run = run_of(text_corpus, model=WIDE, batch=MANY, workers={"count": 1, "gpus": 1})
    forecast = forecast_data(run.data, run.forget, run.training_seed, run.model)
    for memory in (600, 400, 320):
        device = device_of(run.workers, machine_of(), f"{memory / 1000}GB")
        estimator = Estimator(device, forecast)
        remedy = estimator.remedy(run)
        if remedy is None:
            assert memory == 320
            continue
        changed = with_changes(run, remedy)
        assert changed is not None
        assert all(estimator.fits(each) for each in estimator.footprints(changed)), remedy
        assert bool(remedy) == (memory < 600), remedy


def test_trials_at_once_are_limited_before_anything_else(text_corpus: Path) -> None:
    run = run_of(text_corpus, workers={"count": 1})
    machine = machine_of(memory=4e9, cores=8)
    with pytest.raises(ConfigError, match=r"which 8 workers share; set search.concurrent: 6$"):
        stated(run, machine=machine, concurrent=None)
