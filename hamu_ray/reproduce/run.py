"""Running a study in this process, one trial after another, with a row for each in a table.

The trials are those of `hamu-ray tune SPACE.yaml`: the package's searcher proposes them, and its engine runs them. The
table is the only state: what it contains is told to the searcher again, and not run again, so that an interrupted study
continues with the trials that it would have had.
"""

import json
import math
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from hamu_ray.config.run import RunConfig
from hamu_ray.config.space import METHOD_NAME
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.reproduce.columns import BASES, COLUMNS, CONFIRM, KEY, METRICS, SEARCH
from hamu_ray.reproduce.rows import Rows
from hamu_ray.results.hardness import HARDNESS
from hamu_ray.results.outcome import Report, Status, Verdict
from hamu_ray.storage import storage_path
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.trainable import NUMBER, PARAMETERS, STATUS


class Study:
    """A table of runs, and the models that they start from."""

    def __init__(self, table: Path, minutes: float, storage: str) -> None:
        """Continue the table, or create it; start no run after so many minutes."""
        self.rows = Rows(table, COLUMNS, KEY)
        self._until = time.monotonic() + 60 * minutes
        self._resident = Resident(storage_path(storage), torch.device("cpu"))

    def row(
        self, name: Mapping[str, Any], run: RunConfig, parameters: Mapping[str, Any]
    ) -> dict[str, str] | None:
        """Return the row of a run, which is carried out if the table does not have it; None after the time is over."""
        key = {**name, "training_seed": run.training_seed, "seed": run.seed}
        if (known := self.rows.find(key)) is not None:
            return known
        if time.monotonic() > self._until:
            return None
        found, bases = _carried_out(run, self._resident)
        for base, metrics in bases.items():
            of_base = dict.fromkeys(COLUMNS, "") | {
                "space": key["space"],
                "purpose": base,
                "training_seed": key["training_seed"],
                "method": base,
            }
            if self.rows.find(of_base) is None:
                self.rows.add({**of_base, **metrics})
        text = json.dumps({path: _short(value) for path, value in parameters.items() if path != METHOD_NAME})
        return self.rows.add({**key, "method": label_of(run), "parameters": text, **found})

    def search(self, config: SweepConfig, methods: Collection[str] | None = None) -> bool:
        """Run a sweep, or only the trials of some methods; return whether it is complete.

        A method's trials do not depend on those of other methods.
        """
        with tempfile.TemporaryDirectory() as folder:
            plan = plan_sweep(config, Path(folder))
            searcher = UnlearningSearch(plan, lambda: 1)
            for trial in range(plan.trials):
                given = searcher.suggest(str(trial))
                assert given is not None
                run = config.resolve(given[PARAMETERS])
                if methods is not None and label_of(run) not in methods:
                    searcher.on_trial_complete(str(trial))
                    continue
                name = {
                    "space": config.name,
                    "purpose": SEARCH,
                    "search_seed": config.search.seed,
                    "trial": given[NUMBER],
                }
                row = self.row(name, run, given[PARAMETERS])
                if row is None:
                    return False
                metrics = {metric: float(row[metric] or "nan") for metric in plan.watched}
                searcher.on_trial_complete(str(trial), {**metrics, STATUS: Status(row["status"])})
        return True

    def confirm(
        self, config: SweepConfig, trial: Mapping[str, str], seed: int, training_seed: int
    ) -> dict[str, str] | None:
        """Run a trial of a search, which a row describes, with other seeds; None after the time is over."""
        parameters = parameters_of(trial)
        run = config.resolve({**parameters, "seed": seed, "training.seed": training_seed})
        name = {**{key: trial[key] for key in ("space", "search_seed", "trial")}, "purpose": CONFIRM}
        return self.row(name, run, parameters)


def label_of(run: RunConfig) -> str:
    """Return what a run's method is called in a table: its name, and its forget objective if it has another."""
    objective = run.method.forget_objective
    return run.method.name if objective is None else f"{run.method.name}+{objective}"


def parameters_of(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the space's keys in the run that a row describes."""
    return {METHOD_NAME: row["method"].partition("+")[0], **json.loads(row["parameters"])}


def _carried_out(run: RunConfig, resident: Resident) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Unlearn; return the columns of what came of it, and the metrics of the base models by name."""
    bases: dict[str, dict[str, str]] = {}
    hardness: list[float] = []

    def on_report(report: Report) -> Verdict:
        if report.phase in BASES and report.total_steps == 0:
            bases[report.phase] = {name: _number(report.measures.get(name)) for name in METRICS}
        if report.phase == "unlearning":
            hardness.extend(report.history.get(HARDNESS, []))
        return Verdict.GO_ON

    with tempfile.TemporaryDirectory() as folder:
        outcome = unlearn(run, resident, Alone(), storage_path(folder), on_report)
    row = {
        "status": outcome.status,
        "steps": outcome.steps,
        "gradient_computations": outcome.gradient_computations,
        "seconds": _number(outcome.seconds),
        "hardness": _number(hardness[0] if hardness else None),
        **{name: _number(outcome.measures.get(name)) for name in METRICS},
        "steps_outside_guarantee": "" if (out := outcome.steps_outside_guarantee) is None else out,
    }
    return row, bases


def _number(value: float | None) -> str:
    """Return a number as it is written to the table, and then told to the searcher."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
