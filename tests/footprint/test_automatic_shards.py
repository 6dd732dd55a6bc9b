"""`workers.shards: auto`: as few shards as fit the device of a worker."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hamu_ray import train, tune, unlearn
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.doctor import verify_cluster
from hamu_ray.footprint.cases import Case
from hamu_ray.footprint.estimate import Estimator
from hamu_ray.footprint.machine import Machine
from hamu_ray.footprint.phases import unlearning
from hamu_ray.footprint.shards import fewest_shards, whole_models
from hamu_ray.footprint.trace import Tracer
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.tasks.registry import forecast_data, outline_of
from hamu_ray.workers import single
from hamu_ray.workers.nodes import checkup
from tests.made_texts import text_run

SECTIONS: dict[str, Any] = {
    "model": {"hidden_size": 384, "layers": 4, "heads": 4},
    "original": {"path": "x"},
    "reference": {"source": "none"},
    "evaluation": {"enabled": False, "every_steps": None},
}


def run_of(corpus: Path, shards: int, **sections: Any) -> RunConfig:
    workers = {"count": 4, "gpus": 1, "shards": shards}
    return text_run(corpus, **{**SECTIONS, "workers": workers, **sections})


def needed_by(run: RunConfig) -> int:
    return unlearning(run, Tracer(outline_of(run)), None, "gpu").total


def chosen(corpus: Path, memory: float | None, **sections: Any) -> tuple[int, Finding]:
    """Return the choice for GPUs of which a worker can use this many bytes."""

    def cases_with(shards: int) -> list[Case]:
        try:
            return [(run_of(corpus, shards, **sections), None)]
        except ValueError as error:
            raise ConfigError(str(error)) from error

    device = None if memory is None else f"{memory / 0.95 / 1e9:.6f}GB"
    return fewest_shards(cases_with, 4, source="run.yaml", device=device, machine=Machine(2, 10**9, ()))


def test_there_are_as_few_shards_as_fit(text_corpus: Path) -> None:
    needed = {shards: needed_by(run_of(text_corpus, shards)) for shards in (1, 2, 4)}
    assert needed[1] > needed[2] > needed[4]
    for shards, memory in needed.items():
        assert chosen(text_corpus, 1.001 * memory)[0] == shards
    reason = chosen(text_corpus, 1.001 * needed[4])[1]
    assert reason.subject == "shards"
    assert reason.text.startswith("4 (auto): with 2, unlearning with hamu-q and sgd needs ")
    with pytest.raises(ConfigError, match=r"^run.yaml: unlearning with hamu-q and sgd needs .* of memory"):
        chosen(text_corpus, 0.999 * needed[4])


def test_numbers_that_do_not_suit_a_run_are_left_out(text_corpus: Path) -> None:
    whole: dict[str, Any] = {"support": {"kind": "saliency", "fraction": 0.5}}
    needed = needed_by(run_of(text_corpus, 1, **whole))
    assert chosen(text_corpus, 1.001 * needed, **whole)[0] == 1
    with pytest.raises(ConfigError, match="of memory, more than"):
        chosen(text_corpus, 0.999 * needed, **whole)


def test_an_unknown_device_is_refused(text_corpus: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^run.yaml: workers.shards: auto needs the memory of the workers' device"
    ):
        chosen(text_corpus, None)


SPACE = {"optimizer.learning_rate": {"loguniform": [0.01, 0.1]}}


@pytest.mark.parametrize("name", ["unlearn", "tune"])
def test_a_dry_run_states_the_number(
    name: str,
    text_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sections: dict[str, Any] = {
        "original": {},
        "reference": {},
        "storage": {"path": str(tmp_path)},
        "evaluation": {"every_steps": 4},
    }
    run = run_of(text_corpus, 1, workers={"count": 2, "gpus": 1}, **sections)
    forecast = forecast_data(run.data, run.forget, run.training_seed, run.model)
    needed = max(phase.total for phase in Estimator(None, forecast).footprints(run))
    document = run.model_dump(mode="json", exclude_unset=True)
    document["workers"]["shards"] = "auto"
    document |= {"space": SPACE} if name == "tune" else {}
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(document))
    arguments = [name, str(tmp_path / "file.yaml"), "--dry-run", "--device-memory"]
    main = tune.main if name == "tune" else unlearn.main

    def stated(memory: str) -> str:
        monkeypatch.setattr(sys, "argv", [*arguments, memory])
        assert main() == 0
        return " ".join(capsys.readouterr().out.split())

    assert "shards 1 (auto): a whole model fits in 76.0 GB for a worker" in stated("H100")
    less = stated(f"{needed / 1e9:.6f}GB")
    assert "shards 2 (auto): with 1, training base models with adamw needs" in less
    assert ("a model is held in 2 shards" in less) == (name == "tune")


def test_training_alone_has_no_shards(
    text_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sections: dict[str, Any] = {"original": {}, "reference": {}, "storage": {"path": str(tmp_path)}}
    workers = {"count": 4, "shards": 2, "min_count": 2}
    run = text_run(text_corpus, **{**SECTIONS, **sections, "workers": workers})
    forecast = forecast_data(run.data, run.forget, run.training_seed, run.model)
    alone = run.model_copy(update={"workers": WorkersConfig(count=1)})
    needed = Estimator(None, forecast).footprints(alone)[0].total
    little = Machine(2, int(0.999 * needed), ())
    with pytest.raises(
        ConfigError, match=r"^run.yaml: workers.shards: .* needs .* more than .*unlearn train them"
    ):
        whole_models((run, forecast), "run.yaml", little)
    enough = "1: this command trains base models whole, in one process"
    assert whole_models((run, forecast), "run.yaml", Machine(2, 2 * needed, ())).text == enough
    document = run.model_dump(mode="json", exclude_unset=True)
    trained: list[int] = []
    monkeypatch.setattr(single, "train_models", lambda run: trained.append(run.workers.shards) or 0)
    for given in ("auto", 2, 1):
        document["workers"]["shards"] = given
        (tmp_path / "file.yaml").write_text(yaml.safe_dump(document))
        monkeypatch.setattr(sys, "argv", ["train", str(tmp_path / "file.yaml")])
        assert train.main() == 0
        assert (enough in capsys.readouterr().out) == (given != 1)
    assert trained == [1, 2, 1]


def test_a_cluster_is_checked_for_any_number(
    text_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = {"path": str(tmp_path)}
    run = run_of(text_corpus, 1, storage=storage, tracking={"uri": f"sqlite:///{tmp_path}/none.db"})
    document = run.model_dump(mode="json", exclude_unset=True) | {"space": SPACE}
    document["workers"]["shards"] = "auto"
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setattr(checkup, "check_up", lambda storage: [Finding("storage", storage)])
    assert verify_cluster(str(tmp_path / "file.yaml")) == 0
    assert str(tmp_path) in capsys.readouterr().out


def test_a_sweep_that_keeps_models_on_the_way_has_no_shards(
    text_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {name: {} for name in ("original", "reference")} | {"evaluation": {"every_steps": 4}}
    run = run_of(text_corpus, 1, workers={"count": 2, "gpus": 1}, storage={"path": str(tmp_path)}, **sections)
    forecast = forecast_data(run.data, run.forget, run.training_seed, run.model)
    needed = max(phase.total for phase in Estimator(None, forecast).footprints(run))
    document = run.model_dump(mode="json", exclude_unset=True)
    document |= {"space": SPACE, "search": {"points_per_trial": 4}}
    document["workers"]["shards"] = "auto"
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(document))
    less = f"{needed / 1e9:.6f}GB"
    monkeypatch.setattr(
        sys, "argv", ["tune", str(tmp_path / "file.yaml"), "--dry-run", "--device-memory", less]
    )
    with pytest.raises(ConfigError, match="of memory, more than"):
        tune.main()
