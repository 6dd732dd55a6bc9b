"""Progress of a run: bars on an interactive terminal."""

from collections.abc import Sequence
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from hamu_ray.results.outcome import Report, Verdict


def is_watched(console: Console) -> bool:
    """Whether a person watches: at a terminal, or in a notebook that has the widgets to draw in."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def make_bars(console: Console) -> Progress:
    """Return progress bars that are drawn only on an interactive terminal."""
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        expand=True,
        disable=not is_watched(console),
    )


class Phases:
    """Progress bars for the current phase of each run.

    Training of a base model is announced by a line of its own: one, however many runs train theirs at the same time.
    """

    def __init__(self, console: Console, bars: Progress) -> None:
        """Add bars to an existing group."""
        self._console, self._bars = console, bars
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def show(self, name: str, label: str, report: Report) -> None:
        """Update a run's progress bar."""
        if not report.total_steps:
            return
        training = report.phase != "unlearning"
        text = f"training the {report.phase} model" if training else label
        if (name, report.phase) not in self._tasks:
            if training and not self._is_running(report.phase):
                self._console.print(f"[dim]{text} ({report.total_steps} steps)[/dim]")
            self._tasks[name, report.phase] = self._bars.add_task(text, total=report.total_steps)
        task = self._tasks[name, report.phase]
        self._bars.update(
            task, completed=report.step, visible=not (training and report.step == report.total_steps)
        )

    def _is_running(self, phase: str) -> bool:
        unfinished = {task.id for task in self._bars.tasks if not task.finished}
        return any(known == phase and task in unfinished for (_, known), task in self._tasks.items())

    def end(self, name: str) -> None:
        """Remove a run's bar."""
        for key in [key for key in self._tasks if key[0] == name]:
            self._bars.remove_task(self._tasks.pop(key))


class RunView:
    """The terminal view of one run."""

    def __init__(self, console: Console) -> None:
        """Create the view without drawing anything."""
        self._bars = make_bars(console)
        self._phases = Phases(console, self._bars)
        self.bases: dict[str, dict[str, float]] = {}
        """Metrics of the original and the reference."""

    def __enter__(self) -> "RunView":
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self._bars.stop()

    def show(self, report: Report) -> Verdict:
        """Show a report; always returns `GO_ON`."""
        if not report.total_steps:
            self.bases[report.phase] = report.measures
        self._phases.show("run", "unlearning", report)
        return Verdict.GO_ON

    def show_all(self, reports: Sequence[Report]) -> None:
        """Show several reports in order."""
        for report in reports:
            self.show(report)
