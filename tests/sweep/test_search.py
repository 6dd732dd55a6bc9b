"""What a trial's parameters are: those that its method reads."""

import optuna
import pytest

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.sweep.search import suggest

SPACE = {
    "method.gamma": {"uniform": [0.0, 1.0]},
    "method.beta": {"loguniform": [0.01, 1.0]},
    "method.constraint_ratio": {"uniform": [0.1, 0.9]},
    "method.forget_objective": {"choice": [None, "npo", "simnpo"]},
    "optimizer.learning_rate": {"loguniform": [1e-3, 0.1]},
    "method.name": {"choice": ["ft", "hamu-q", "simnpo"]},
}


@pytest.mark.parametrize(
    ("given", "others"),
    [
        ({"name": "ft", "forget_objective": "npo"}, set()),
        ({"name": "hamu-q", "forget_objective": None}, {"constraint_ratio"}),
        ({"name": "hamu-q", "forget_objective": "npo"}, {"constraint_ratio", "beta"}),
        ({"name": "hamu-q", "forget_objective": "simnpo"}, {"constraint_ratio", "beta", "gamma"}),
        ({"name": "simnpo", "forget_objective": "npo"}, {"beta", "gamma"}),
    ],
)
def test_a_trial_samples_what_its_method_reads(given: dict[str, str | None], others: set[str]) -> None:
    config = SweepConfig.model_validate({"space": SPACE})
    study = optuna.create_study()
    study.enqueue_trial({f"method.{key}": value for key, value in given.items()})
    trial = study.ask()
    suggest(trial, config)
    read = {"name", "forget_objective"} if given["name"] == "hamu-q" else {"name"}
    assert set(trial.params) == {"optimizer.learning_rate"} | {f"method.{key}" for key in read | others}
    assert config.resolve(trial.params).method.name == given["name"]
