"""A sweep's summary for people and programs: CSV, a table for the terminal, Markdown."""

import csv
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from hamu_ray.results.front import Interval
from hamu_ray.results.summary import SweepSummary, method_of, over_seeds, settings_of
from hamu_ray.results.trial import Status, TrialRecord

HEADLINE = "avg_gap"
"""Shown next to the objectives where it was measured."""

NO_FRONT = "No trial finished with finite objectives: the front is empty."
REASON_LENGTH = 160
KNEE = "*"
KNEE_NOTE = "; * is the knee"
EQUALS_NOTE = "; +n: as many others at the same point"


def write_csv(path: Path | str, summary: SweepSummary, trials: Sequence[TrialRecord]) -> Path:
    """Write one row a trial (`summary.front` or `summary.trials`), with all that was sampled and measured.

    Numbers are in full precision; a cell is empty where a trial has no such parameter or measure. The file is
    replaced at once, so that a reader never sees half of it.
    """
    path = Path(path)
    metrics = [objective.metric for objective in summary.objectives]
    parameters = _in_order(key for trial in trials for key in settings_of(trial))
    fixed = {*metrics, "steps", "unlearning_seconds"}
    measured = {key for trial in trials for key in trial.measures} - fixed
    others = sorted(measured, key=lambda key: (key != HEADLINE, key))
    after = ["steps", "unlearning_seconds", "reason", "model_path"]
    header = ["trial_id", "method", "status", "place", *metrics, *parameters, *others, *after]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        for trial in trials:
            row: dict[str, Any] = {key: getattr(trial, key) for key in after}
            row |= {key: value for key, value in trial.measures.items() if key not in after}
            row |= {**settings_of(trial), "trial_id": trial.trial_id, "method": method_of(trial)}
            writer.writerow(row | {"status": trial.status.value, "place": summary.place(trial)})
    unfinished.replace(path)
    return path


def front_table(summary: SweepSummary) -> Table:
    """Return the front as a table for the terminal, with the original's and the reference's rows."""
    header, rows, anchors = _front_rows(summary)
    table = Table(
        title=_headline(summary),
        caption=counts_line(summary) + _front_notes(summary),
        box=box.SIMPLE_HEAD,
    )
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    table.title_justify = table.caption_justify = "left"
    for i, title in enumerate(header):
        table.add_column(title.replace(" ", "\n"), justify="left" if i < 3 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row), style="bold" if row[0] == KNEE else "")
    table.add_section()
    for row in anchors:
        table.add_row(*row, style="dim")
    return table


def counts_line(summary: SweepSummary) -> str:
    """Return such as `45 trials: 40 finished, 3 collapsed, 2 failed`."""
    counts = ", ".join(f"{count} {status.value}" for status, count in summary.counts.items() if count)
    return _counted(len(summary.trials)) + (f": {counts}" if counts else "")


def _front_notes(summary: SweepSummary) -> str:
    """Return what the front's table needs to be explained, as the end of a sentence."""
    several = any(equals for _, equals in _distinct(summary))
    return KNEE_NOTE * bool(summary.front) + EQUALS_NOTE * several + "."


def describe(summary: SweepSummary, picture: str = "") -> str:
    """Return the summary as Markdown: the front, a picture of it, what became of all trials, where the models are."""
    header, rows, anchors = _front_rows(summary)
    parts = [f"**{_headline(summary)}** {counts_line(summary)}{_front_notes(summary)}"]
    if rows or anchors:
        parts.append(_markdown_table(header, rows + anchors))
    if picture:
        parts.append(picture)
    if summary.front:
        paths = [f"- `{trial.trial_id}`: `{trial.model_path or 'not kept'}`" for trial in summary.front]
        parts += ["### Models of the front", "\n".join(paths)]
    groups = over_seeds(summary)
    if groups:
        names = [_words(objective.metric) for objective in summary.objectives]
        lines = [[g.method, _listed(g.parameters), str(g.trials), *map(_spread, g.intervals)] for g in groups]
        parts += ["### Over seeds (mean, 95 % interval)"]
        parts += [_markdown_table(["method", "parameters", "seeds", *names], lines)]
    others = [trial for trial in summary.trials if trial.status is not Status.FINISHED]
    if others:
        lines = [[t.trial_id, method_of(t), t.status.value, _one_line(t.reason)] for t in others]
        parts += ["### Not finished", _markdown_table(["trial", "method", "status", "reason"], lines)]
    return "\n\n".join(parts) + "\n"


def _headline(summary: SweepSummary) -> str:
    if not summary.front:
        return NO_FRONT
    corner = ", ".join(f"{value:.4g}" for value in summary.best_corner)
    return (
        f"Front: {len(summary.front)} of {_counted(len(summary.trials))}, "
        f"hypervolume {summary.hypervolume:.4f}, "
        f"{summary.hypervolume_share:.1%} of the box up to ({corner})."
    )


def _front_rows(summary: SweepSummary) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Return the header, a row for each trial of the front, and rows for the original and the reference."""
    metrics = [objective.metric for objective in summary.objectives]
    if HEADLINE not in metrics and any(HEADLINE in trial.measures for trial in summary.front):
        metrics.append(HEADLINE)
    keys = _in_order(key for trial in summary.front for key in settings_of(trial))
    lasts = Counter(key.rpartition(".")[2] for key in keys)
    titles = [key if lasts[key.rpartition(".")[2]] > 1 else key.rpartition(".")[2] for key in keys]
    header = ["", "trial", "method", *map(_words, metrics), *map(_words, titles)]
    rows = []
    for trial, equals in _distinct(summary):
        mark = KNEE if summary.place(trial) == "knee" else ""
        values = [_number(trial.measures.get(metric)) for metric in metrics]
        settings = [_short(trial.parameters.get(key, "")) for key in keys]
        name = f"{trial.trial_id} +{equals}" if equals else trial.trial_id
        rows.append([mark, name, method_of(trial), *values, *settings])
    anchors = []
    for mark, name, measures in (
        ("O", "original", summary.original),
        ("R", "retain-only", summary.reference),
    ):
        if measures:
            values = [_number(measures.get(metric)) for metric in metrics]
            anchors.append([mark, "", name, *values, *[""] * len(keys)])
    return header, rows, anchors


def _distinct(summary: SweepSummary) -> Iterator[tuple[TrialRecord, int]]:
    """Yield one trial for each point of the front, the knee for its own, and how many others are at that point."""
    for _, group in groupby(summary.front, lambda trial: summary.point(trial.measures)):
        trials = list(group)
        yield next((t for t in trials if summary.place(t) == "knee"), trials[0]), len(trials) - 1


def _counted(trials: int) -> str:
    return "1 trial" if trials == 1 else f"{trials} trials"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _in_order(keys: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(keys))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 100 or value == 0 else f"{value:.4g}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _listed(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_short(value)}" for key, value in parameters.items())


def _spread(interval: Interval) -> str:
    return f"{_number(interval.mean)} [{_number(interval.low)}, {_number(interval.high)}]"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"
