"""The trials of a sweep as CSV, and as Markdown for MLflow's description."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hamu_ray.results.pareto.summary import SweepSummary, method_of, over_seeds, settings_of
from hamu_ray.results.pareto.table import HEADLINES, front_table
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import capitalised, setting, spread, words

REASON_LENGTH = 160


def write_csv(path: Path | str, summary: SweepSummary, trials: Sequence[TrialRecord]) -> Path:
    """Write one row per trial or point (`summary.front` or `summary.candidates`) with its hyperparameters and metrics.

    With constraints, `misses` names those that a finished trial does not meet.

    Numbers have full precision; a cell is empty if a trial lacks the hyperparameter or metric. The file is replaced
    atomically.
    """
    path = Path(path)
    metrics = [objective.metric for objective in summary.objectives]
    parameters = list(dict.fromkeys(key for trial in trials for key in settings_of(trial)))
    fixed = {*metrics, "steps", "unlearning_seconds"}
    measured = {key for trial in trials for key in trial.measures} - fixed
    first = [name for name in HEADLINES if name in measured]
    others = [*first, *sorted(measured.difference(first))]
    known = any(trial.guaranteed is not None for trial in summary.trials)
    after = [
        "steps",
        "unlearning_seconds",
        *(["steps_outside_guarantee"] if known else []),
        "reason",
        "model_path",
    ]
    constrained = ["misses"] * bool(summary.constraints)
    cloned = ["cloned_from"] * any(trial.cloned_from for trial in summary.trials)
    repeated = ["search_seed"] * (len({trial.search_seed for trial in summary.trials} - {None}) > 1)
    header = [
        "trial_id",
        "method",
        "status",
        "place",
        *constrained,
        *cloned,
        *repeated,
        *metrics,
        *parameters,
        *others,
        *after,
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        for trial in trials:
            row: dict[str, Any] = {key: getattr(trial, key) for key in after}
            row |= {key: value for key, value in trial.measures.items() if key not in after}
            row |= {**settings_of(trial), "trial_id": trial.trial_id, "method": method_of(trial)}
            row |= {key: getattr(trial, key) for key in (*cloned, *repeated)}
            row |= {key: " and ".join(summary.missed(trial)) for key in constrained}
            writer.writerow(row | {"status": trial.status.value, "place": summary.place(trial)})
    unfinished.replace(path)
    return path


def describe(summary: SweepSummary, picture: str = "") -> str:
    """Return the summary as Markdown: the front, its picture, model paths, means over seeds, and other trials.

    Args:
        summary: the summary to describe.
        picture: Markdown of the front's picture; empty for none.
    """
    front = front_table(summary)
    parts = [f"**{front.title}** {front.caption}"]
    if front.rows or front.anchors:
        parts.append(_markdown_table(front.header, front.rows + front.anchors))
    parts += [f"**{capitalised(sentence)}.**" for sentence in summary.nothing_to_forget]
    if summary.reference_origins:
        parts.append(f"The reference {'; or '.join(summary.reference_origins)}.")
    if picture:
        parts.append(picture)
    if summary.front:
        paths = [
            f"- `{trial.trial_id}`{', not guaranteed' * (trial.guaranteed is False)}: "
            f"`{trial.model_path or 'not kept'}`"
            for trial in summary.front
        ]
        parts += ["### Models of the front", "\n".join(paths)]
    groups = over_seeds(summary)
    if groups:
        names = [words(objective.metric) for objective in summary.objectives]
        lines = [
            [
                g.method,
                ", ".join(f"{key} = {setting(value)}" for key, value in g.parameters.items()),
                str(g.trials),
                *map(spread, g.intervals),
            ]
            for g in groups
        ]
        parts += ["### Over seeds (mean, 95 % interval)"]
        parts += [_markdown_table(["method", "parameters", "seeds", *names], lines)]
    others = [trial for trial in summary.trials if trial.status is not Status.FINISHED]
    if others:
        lines = [[t.trial_id, method_of(t), t.status.value, _one_line(t.reason)] for t in others]
        parts += ["### Not finished", _markdown_table(["trial", "method", "status", "reason"], lines)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"
