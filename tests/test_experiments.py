"""Every included search space: its varied keys, its header, and one real trial of each experiment.

Expected values are written independently in `tests/paper_experiments.py`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from PIL import Image

from hamu_ray.config.sources.files import ConfigError, load, load_run, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.task.vision import Cifar10Data
from hamu_ray.config.trials import trials_of
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.preflight import check_sweep, distinct_runs
from hamu_ray.results.outcome import Report, Status, Verdict
from hamu_ray.results.sweep_folders import make_folder, new_folder, resumable_folder
from hamu_ray.tracking.outbox import Outbox
from tests.paper_experiments import (
    BOTH,
    EXPERIMENTS,
    HAMU,
    OTHERS,
    RECIPES,
    SEEDS,
    SHARED,
    SMALL_TRIALS,
    trials,
)
from tests.sweep_processes import log_of, start

FOLDER = Path(__file__).parents[1] / "search_spaces"
FILES = {str(path.relative_to(FOLDER).with_suffix("")): path for path in sorted(FOLDER.rglob("*.yaml"))}


def at(document: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        document = document[part]
    return document


def head(path: Path) -> str:
    """The header comment as one line of text."""
    lines = path.read_text().splitlines()
    comment = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    return " ".join(line.removeprefix("#").strip() for line in comment)


def test_all_files_are_known() -> None:
    assert set(FILES) == set(EXPERIMENTS) | set(OTHERS) | SHARED


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_varies_what_the_paper_does(name: str) -> None:
    config = load_sweep(FILES[name])
    space = {path: set(domain.grid or ()) for path, (domain,) in config.space.items()}
    assert space == {**EXPERIMENTS[name], "seed": SEEDS}
    assert (config.search.algorithm, trials_of(config)) == ("grid", trials(EXPERIMENTS[name]))
    for preset in ("small", "smallest"):
        small = load_sweep(FILES[name], [f"preset={preset}"])
        assert small.space.keys() == config.space.keys()
        assert trials_of(small) <= trials_of(config)
        assert (small.workers.count * small.workers.cpus <= 2, small.workers.gpus) == (True, 0)


@pytest.mark.parametrize(("name", "count"), OTHERS.items())
def test_other_search_spaces(name: str, count: int) -> None:
    assert trials_of(load_sweep(FILES[name])) == count


@pytest.mark.parametrize("name", [name for name in FILES if name not in SHARED | {"digits"}])
def test_small_forms(name: str) -> None:
    whole = trials(EXPERIMENTS[name]) if name in EXPERIMENTS else OTHERS[name]
    assert trials_of(load_sweep(FILES[name], ["preset=small"])) == SMALL_TRIALS.get(name, whole)


@pytest.mark.parametrize("task", RECIPES)
def test_the_recipe_is_the_paper_s(task: str) -> None:
    """The experiments follow it, except for the keys they study."""
    run = load_run(FILES[f"{task}/recipe"]).model_dump(mode="json")
    expected = {**RECIPES[task], **BOTH}
    assert {path: at(run, path) for path in expected} == expected
    assert Cifar10Data.usual == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert "cifar" not in task or (run["data"]["mean"], run["data"]["std"]) == (None, None), "the usual ones"
    for name in EXPERIMENTS:
        if name.startswith(f"{task}/"):
            own = load_sweep(FILES[name]).model_dump(mode="json")
            changed = {path: at(own, path) for path in expected if at(own, path) != expected[path]}
            assert changed == {
                "cifar/job_grid": {"duration.epochs": 50},
                "cifar/timing_all": {"duration.epochs": 1, "method.infeasible": "least_step"},
                "waterdrum_tofu/timing_all": {"duration.epochs": 1, "method.infeasible": "least_step"},
                "cifar/stopping_criterion": {"forget.rho": 0.5},
            }.get(name, {})


def test_settings_that_the_paper_names() -> None:
    stopping = load_sweep(FILES["cifar/stopping_criterion"])
    assert stopping.method.constraint_ratio == 0.5
    optimizer = load_sweep(FILES["cifar/optimizer_ablation"]).method
    assert (optimizer.name, optimizer.constraint_ratio) == ("hamu-u", 0.9)


@pytest.mark.parametrize("task", ["digits", "cifar", "tofu"])
def test_an_ablation_compares_parts_of_hamu_with_tuned_sums(task: str) -> None:
    """Split x trust region, with a constraint that fits the variant or as a ratio; searched weights of the others."""
    fraction, ratio = load_sweep(FILES[f"ablations/{task}"]), load_sweep(FILES[f"ablations/{task}_ratio"])
    for config, own in ((fraction, "constraint_fraction"), (ratio, "constraint_ratio")):
        assert config.stop.forget_level == "reference"
        splits = {
            (cell["method.name"], cell["method.constraint_split"], cell["method.trust_region"])
            for cell in config.cells()
            if cell["method.name"] in HAMU
        }
        assert len(splits) == 2 * 4 * 2
        assert all(config.applies(f"method.{own}", {"method.name": name}) for name in HAMU)
        assert {cell["seed"] for cell in config.cells()} == {41, 42, 43, 44, 45}
    bounds = {
        name: fraction.domain("method.constraint_fraction", {"method.name": name}).uniform  # type: ignore[union-attr]
        for name in HAMU
    }
    assert bounds == {"hamu-q": (0.2, 0.3), "hamu-u": (0.75, 0.85)}
    others = {cell["method.name"] for cell in fraction.cells()} - HAMU
    assert others == {"npo", "simnpo", "gdiff", "kl", "scrub", "pcgrad"}
    assert all(fraction.applies("method.retain_weight", {"method.name": name}) for name in others)
    assert not fraction.applies("method.retain_weight", {"method.name": "hamu-q"})


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_header(name: str) -> None:
    text = head(FILES[name])
    if name.startswith("ablations/"):
        assert f"= {OTHERS[name]} trials" in text
        assert f"Small: {SMALL_TRIALS[name]} trials." in text
    if name in SHARED | set(OTHERS):
        assert len(text) > 100
        return
    assert re.match(r"[A-Z][^.]+\?", text), "it opens with a question"
    assert re.search(rf"= {trials(EXPERIMENTS[name])} trials", text)
    assert re.search(r"GPU\s+(hour|minute)s?, an estimate: ", text)
    assert "Small: " in text
    assert "Look at " in text


def test_the_documentation_counts_the_same_trials() -> None:
    text = (FOLDER.parent / "docs" / "experiments.md").read_text()
    found = {}
    for task, section in zip(("cifar", "waterdrum_tofu"), text.split("\n## ")[1:3], strict=True):
        for name, count, small in re.findall(
            r"^\| `(\w+)` \|.*\| (\d+) \| [\d.]+ \| (\d+), \d+ \|$", section, re.M
        ):
            found[f"{task}/{name}"] = (int(count), int(small))
    counted = {name: trials(varied) for name, varied in EXPERIMENTS.items()}
    assert found == {name: (count, SMALL_TRIALS.get(name, count)) for name, count in counted.items()}


def test_the_documentation_s_own_experiment_runs(tmp_path: Path) -> None:
    text = (FOLDER.parent / "docs" / "experiments.md").read_text()
    block = next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.S) if "name: mine" in block)
    (tmp_path / "mine.yaml").write_text(block.replace("search_spaces/", f"{FOLDER}/"))
    config = load_sweep(tmp_path / "mine.yaml")
    assert (trials_of(config), config.duration.steps) == (2 * 3 * 3, 10)
    assert (config.batch.retain, config.workers.gpus) == (250, 0)
    assert load_sweep(tmp_path / "mine.yaml", ["preset=smallest"]).duration.steps == 2


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        (name, preset)
        for name in FILES
        for preset in ("null", "small", "smallest")[: 1 if name == "digits" else 3]
    ],
)
def test_the_resolved_configuration_is_whole(name: str, preset: str, tmp_path: Path) -> None:
    config = load(FILES[name], [f"preset={preset}"])
    document = config.whole if isinstance(config, SweepConfig) else config.model_dump(mode="json")
    assert not {"extends", "presets", "preset"} & document.keys()
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(document, sort_keys=False))
    assert load(again) == config


@pytest.fixture(scope="module")
def made_cifar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Images of noise, each class with its own brightness, in the layout of the hub's data set."""
    import datasets

    folder = tmp_path_factory.mktemp("cifar") / "cifar10"
    classes = datasets.ClassLabel(names=[f"class {number}" for number in range(10)])
    features = datasets.Features({"img": datasets.Image(), "label": classes})
    random = np.random.default_rng(0)
    for split, count in (("train", 300), ("test", 60)):
        labels = [number % 10 for number in range(count)]
        pixels = [random.integers(20 * label, 20 * label + 60, (32, 32, 3), np.uint8) for label in labels]
        rows = {"img": [Image.fromarray(image) for image in pixels], "label": labels}
        made = datasets.Dataset.from_dict(rows, features)
        made.to_parquet(folder / "plain_text" / f"{split}-00000-of-00001.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder.parent / "prepared")
        patch.setenv("HF_DATASETS_CACHE", str(folder.parent / "prepared"))
        yield folder


@pytest.fixture
def data(name: str, request: pytest.FixtureRequest) -> Path:
    """The synthetic data of an experiment's task."""
    return request.getfixturevalue("made_cifar" if name.startswith("cifar/") else "text_corpus")


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    """A store shared by all experiments, so that each base model is trained once."""
    return Resident(tmp_path_factory.mktemp("experiments"), torch.device("cpu"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_trial_of_each_for_real(name: str, data: Path, resident: Resident, tmp_path: Path) -> None:
    """The last cell of the grid, in the smallest form, with a seed whose models may already be trained."""
    overrides = ["preset=smallest", f"data.path={data}", f"storage.path={resident.storage}"]
    config = load_sweep(FILES[name], overrides)
    check_sweep(config, name)
    *_, cell = config.cells()
    run = config.resolve({**cell, "seed": 41})
    reports: list[Report] = []

    def collect(report: Report) -> Verdict:
        reports.append(report)
        return Verdict.GO_ON

    outcome = unlearn(run, resident, Alone(), tmp_path / "run", collect)
    assert (outcome.status, outcome.steps) == (Status.FINISHED, 2), outcome.reason
    assert outcome.seconds > 0
    measured = [report.step for report in reports if report.phase == "unlearning" and report.measures]
    if name.endswith("/timing_all"):
        assert (outcome.measures, measured) == ({}, [])
    else:
        assert measured == [0, 1, 2]
        assert all(0 <= outcome.measures[key] <= 1 for key in ("forget_quality", "retain_utility"))
    assert load_run(tmp_path / "run" / "run.yaml") == run


def test_a_domain_may_set_both_batch_sizes() -> None:
    config = load_sweep(FILES["cifar/batch_size_ablation"])
    sizes = [config.resolve(cell).batch for cell in config.cells()]
    assert {(size.retain, size.forget) for size in sizes} == {(n, n) for n in (128, 256, 512, 1024, 2048)}


def test_all_data_of_a_sweep_are_checked_before_it_starts(text_corpus: Path) -> None:
    config = load_sweep(
        FILES["waterdrum_tofu/semantic_similarity_sweep"], ["preset=smallest", f"data.path={text_corpus}"]
    )
    found = {(run.data.duplicates, run.seed) for run in distinct_runs(config)}  # type: ignore[union-attr]
    assert found == {(kind, seed) for kind in ("none", "semantic", "exact") for seed in SEEDS}


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_sweep_that_is_only_timed(made_cifar: Path, tmp_path: Path) -> None:
    """A user's own file that extends an included one: no objective is known, only times."""
    space = tmp_path / "mine.yaml"
    document = {
        "extends": str(FILES["cifar/timing_all"]),
        "preset": "smallest",
        "name": "mine",
        "data": {"path": str(made_cifar)},
        "workers": {"cpus": 0.5},
        "space": {"method.name": {"grid": ["hamu-q", "ft"]}, "seed": None},
    }
    space.write_text(yaml.safe_dump(document))
    assert start(space).wait(timeout=800) == 0, log_of(space).read_text()
    (folder,) = (tmp_path / "runs" / "sweeps").glob("mine-*")
    assert not {"extends", "preset", "presets"} & yaml.safe_load((folder / "sweep.yaml").read_text()).keys()
    table = pd.read_csv(folder / "trials.csv")
    assert list(table["status"]) == ["finished"] * 2
    assert (table["unlearning_seconds"] > 0).all()
    assert table["forget_accuracy_quality"].isna().all()
    assert len(pd.read_csv(folder / "front.csv")) == 0
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("hamu_ray")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    assert {run.data.params["method.name"] for run in runs} == {"hamu-q", "ft"}
    for run in runs:
        gradients = {"hamu-q": 4, "ft": 2}[run.data.params["method.name"]]
        assert run.data.metrics["unlearning_seconds"] > 0
        assert (run.data.metrics["steps"], run.data.metrics["gradient_computations"]) == (2, gradients)
        assert not {"forget_quality", "forget_accuracy_quality"} & run.data.metrics.keys()


def test_a_sweep_resumes_only_with_the_same_configuration(tmp_path: Path) -> None:
    """Independent of its original file; keys that are newer than the sweep have their defaults."""
    config = load_sweep(FILES["cifar/stopping_criterion"], ["preset=small"])
    folder = new_folder(config, tmp_path)
    make_folder(folder, config)
    Outbox(folder).start_trial("0000", folder.name, "", {})
    document = yaml.safe_load((folder / "sweep.yaml").read_text())
    del document["evaluation"]["enabled"]
    (folder / "sweep.yaml").write_text(yaml.safe_dump(document))
    assert resumable_folder(config, tmp_path) == folder
    with pytest.raises(ConfigError, match=r"^--resume: batch differs from .*: revert the configuration"):
        resumable_folder(load_sweep(FILES["cifar/stopping_criterion"]), tmp_path)
