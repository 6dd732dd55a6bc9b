"""What a person sees of a sweep: a line for every trial that ends, and bars for what runs, where someone watches."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hamu_ray.config.sweep import METHOD_NAME, Objective
from hamu_ray.engine.outcome import Report
from hamu_ray.sweep.trial import Status, TrialRecord

STYLES = {Status.FINISHED: "green", Status.INTERRUPTED: "yellow"}


class ProgressView:
    """The terminal's view. Lines also go to logs; bars are drawn on a terminal alone."""

    def __init__(self, console: Console, total: int, objectives: tuple[Objective, Objective]) -> None:
        """Show a sweep of so many trials."""
        self.console = console
        self.total = total
        self.objectives = objectives
        self.ended = 0
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._phases: dict[str, str] = {}
        self._overall = self._bars.add_task("sweep", total=total)

    def __enter__(self) -> "ProgressView":
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self._bars.stop()

    def news(self, trial_id: str, parameters: Mapping[str, Any], report: Report) -> None:
        """Show how far a trial is."""
        if not report.total_steps:
            return
        if report.phase != "unlearning" and self._phases.get(trial_id) != report.phase:
            self.console.print(f"[dim]training the {report.phase} model ({report.total_steps} steps)[/dim]")
        self._phases[trial_id] = report.phase
        label = describe(parameters) if report.phase == "unlearning" else f"training the {report.phase} model"
        if trial_id not in self._tasks:
            self._tasks[trial_id] = self._bars.add_task(label, total=report.total_steps)
        self._bars.update(
            self._tasks[trial_id], description=label, completed=report.step, total=report.total_steps
        )

    def end(self, record: TrialRecord) -> None:
        """Print a trial's end."""
        self.ended += 1
        if record.trial_id in self._tasks:
            self._bars.remove_task(self._tasks.pop(record.trial_id))
        self._bars.update(self._overall, completed=self.ended)
        values = "  ".join(
            f"{o.metric.replace('_', ' ')} {number(record.measures.get(o.metric, math.nan))}"
            for o in self.objectives
        )
        style = STYLES.get(record.status, "red")
        reason = "" if record.status is Status.FINISHED else f" ({record.reason})"
        self.console.print(
            f"[dim]{self.ended:>4}/{self.total}[/dim]  {describe(record.parameters):<58}  {values}  "
            f"[{style}]{record.status}[/{style}]{reason}",
            soft_wrap=True,
            highlight=False,
        )


def describe(parameters: Mapping[str, Any]) -> str:
    """Return sampled values as a short text: the method first, then each key's last word and its value."""
    words = [str(parameters[METHOD_NAME])] if METHOD_NAME in parameters else []
    words += [
        f"{path.rpartition('.')[2]}={number(value)}"
        for path, value in parameters.items()
        if path != METHOD_NAME
    ]
    return " ".join(words)


def number(value: Any) -> str:
    """Return a value with the digits that a person reads."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shown(path: Path) -> str:
    """Return a path as a person at the terminal would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
