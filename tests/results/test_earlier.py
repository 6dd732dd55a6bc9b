"""What earlier trials say of a planned constraint."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.earlier import FirstSteps, first_steps
from hamu_ray.results.folder import REPORTS_FILE, RUN_FILE
from hamu_ray.results.outcome import Report, dump_reports
from hamu_ray.storage import write_atomically
from hamu_ray.tuning.preview import preview


def trial(storage: Path, number: int, hardness: list[float], cosine: list[float], **sections: Any) -> None:
    """Leave what a trial leaves of its first steps."""
    run = RunConfig.model_validate(sections)
    folder = storage / "sweeps" / "earlier-20260101-000000" / "trials" / f"{number:04d}"
    document = yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False)
    write_atomically(folder / RUN_FILE, document.encode())
    history = {"hardness": hardness, "gradient_cosine": cosine}
    steps = list(range(1, len(hardness) + 1))
    write_atomically(
        folder / REPORTS_FILE,
        dump_reports([Report("unlearning", 2, 2, history=history, history_steps=steps)]),
    )


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    trial(tmp_path, 0, [0.25, 0.9], [0.6, 0.99], method={"name": "hamu-q"})
    trial(tmp_path, 1, [0.5], [0.8], method={"name": "hamu-q"}, optimizer={"learning_rate": 1.0})
    trial(tmp_path, 2, [0.1], [-0.1], method={"name": "hamu-u"})
    trial(tmp_path, 3, [0.01], [0.0], method={"name": "hamu-q"}, forget={"kind": "class", "label": 3})
    trial(tmp_path, 4, [], [], method={"name": "hamu-q"})
    (tmp_path / "sweeps" / "earlier-20260101-000000" / "trials" / "0005").mkdir()
    return tmp_path


def test_the_first_steps_of_trials_on_the_same_problem(storage: Path) -> None:
    found = first_steps(storage, "hamu-q", [RunConfig()])
    assert found == FirstSteps(free=(0.5, 0.75), sines=(pytest.approx(0.6), pytest.approx(0.8)))
    other = RunConfig.model_validate({"forget": {"kind": "class", "label": 3}})
    assert first_steps(storage, "hamu-q", [other]).free == (0.99,)
    assert len(first_steps(storage, "hamu-q", [RunConfig(), other]).free) == 3
    assert first_steps(storage, "gdiff", [RunConfig()]) == FirstSteps((), ())
    assert first_steps(storage / "nothing", "hamu-q", [RunConfig()]) == FirstSteps((), ())


def test_the_dry_run_compares_the_fraction_with_them(storage: Path, tmp_path: Path) -> None:
    def lines(**document: Any) -> list[str]:
        config = SweepConfig.model_validate(
            {"name": "planned", "storage": {"path": str(storage)}, **document}
        )
        with (tmp_path / "printed").open("w") as file:
            preview(config, Console(file=file, width=300))  # type: ignore[arg-type]
        return [line for line in (tmp_path / "printed").read_text().splitlines() if "asks for" in line]

    space = {
        "method.name": {"grid": ["hamu-q", "hamu-u", "gdiff"]},
        "method.constraint_fraction": [{"uniform": [0.2, 0.3], "when": {"method.name": "hamu-q"}}],
    }
    first, second = lines(space=space)
    assert first == (
        "hamu-q     asks for 20.0 % to 30.0 % of the forgetting available in a step; 50.0 % to 75.0 % cost nothing in "
        "retaining in the first step of 2 earlier trials (sine of the gradients' angle: 60.0 % to 80.0 %)"
    )
    assert second == (
        "hamu-u     asks for 80.0 % of the retaining available in a step; 90.0 % cost nothing in "
        "forgetting in the first step of 1 earlier trial (sine of the gradients' angle: 100.0 %)"
    )
    ratio = {"method.name": {"grid": ["hamu-q"]}, "method.constraint_ratio": {"uniform": [0.1, 0.2]}}
    assert lines(space=ratio) == [], "a ratio is of something else"
