"""The choice of a search algorithm, and its sampler."""

import optuna
import pytest

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.terminal.console import Console
from hamu_ray.tuning.preview import preview
from hamu_ray.tuning.search.algorithm import choose, make_sampler

RATE = {"optimizer.learning_rate": {"loguniform": [1e-3, 0.1]}}
METHODS = {"method.name": {"grid": ["hamu-q", "gdiff"]}}


def sweep_of(space: dict, **search: object) -> SweepConfig:
    return SweepConfig.model_validate({"space": space, "search": {"algorithm": "auto", **search}})


@pytest.mark.parametrize(
    ("space", "search", "algorithm", "reason"),
    [
        (RATE | METHODS, {"samples": 40}, "gp", "1 key without choices or conditions, 40 samples of a cell"),
        (RATE | METHODS, {"samples": 4}, "random", "4 samples of a cell are too few to learn from"),
        (RATE, {"samples": 4, "concurrent": 4, "warm_start": "earlier"}, "gp", "4 samples of a cell"),
        (RATE, {"samples": 40, "concurrent": 40}, "random", "all 40 samples of a cell run at once"),
        (RATE | METHODS, {"samples": 40, "concurrent": 40}, "gp", "1 key"),
        (RATE, {"samples": 500}, "tpe", "where a Gaussian process would be slow"),
        (RATE, {"samples": 5000}, "nsga2", "5,000 samples of a cell"),
        (METHODS, {}, "grid", "no key is sampled"),
        (
            RATE
            | {
                "method.name": {"choice": ["hamu-q", "gdiff"]},
                "method.retain_weight": {"uniform": [0.1, 0.9]},
            },
            {"samples": 40},
            "tpe",
            "how method.retain_weight varies depends on method.name, which is sampled, too",
        ),
        (RATE | {"batch.retain": {"choice": [8, 16]}}, {"samples": 40}, "tpe", "batch.retain is a choice"),
        (RATE, {"samples": 40, "constraints": {"retain_utility": {"min": 0.9}}}, "gp", "1 key"),
        (
            RATE,
            {"samples": 40, "scheduler": {"kind": "rungs", "reduction": 3, "steps": [10, 30]}},
            "tpe",
            "trials that end at a rung",
        ),
    ],
)
def test_auto_chooses_and_says_why(space: dict, search: dict, algorithm: str, reason: str) -> None:
    config = sweep_of(space, **search)
    choice = choose(config, list(config.cells()), config.search.samples)
    assert choice.algorithm == algorithm
    assert reason in choice.reason


def test_keys_that_no_cell_has_together_do_not_count_together() -> None:
    own = {"method.retain_weight": "gdiff", "method.beta": "npo"}
    keys = {key: {"uniform": [0.1, 0.9], "when": {"method.name": name}} for key, name in own.items()}
    config = sweep_of(RATE | keys | {"method.name": {"grid": [*own.values()]}}, samples=40)
    assert choose(config, list(config.cells()), config.search.samples).reason.startswith("2 keys")


def test_a_given_algorithm_stays(capsys: pytest.CaptureFixture[str]) -> None:
    config = sweep_of(RATE, algorithm="tpe", samples=40)
    assert choose(config, [{}], 40) == ("tpe", "")
    preview(config, Console())
    assert "search     " not in capsys.readouterr().out


def test_the_dry_run_says_which_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    preview(sweep_of(RATE, samples=40), Console())
    text = capsys.readouterr().out
    assert "40 samples, gp)" in text
    assert "search     gp: 1 key without choices or conditions" in text


@pytest.mark.parametrize(("algorithm", "samples"), [("nsga2", 10), ("nsga2", 20), ("nsga2", 60), ("gp", 6)])
def test_samples_depend_on_the_results_of_earlier_ones(algorithm: str, samples: int) -> None:
    """Also where there are fewer samples than Optuna's own number of random ones."""

    def drawn(sign: float) -> list[dict[str, float]]:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(directions=["maximize", "maximize"])
        for number in range(samples):
            study.sampler = make_sampler(algorithm, samples, number)
            trial = study.ask()
            values = [trial.suggest_float(name, 0, 1) for name in "abcd"]
            study.tell(trial, (sign * values[0], sign * values[1]))
        return [trial.params for trial in study.trials]

    assert drawn(1.0) != drawn(-1.0)
