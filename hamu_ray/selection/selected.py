"""A selected point of a front: what is printed about it, and the same as plain data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamu_ray.results.folder import RUN_FILE, rerun_command
from hamu_ray.results.pareto.summary import SeedGroup, SweepSummary
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import describe, number, runnable, shown
from hamu_ray.selection.confirmation import Confirmation
from hamu_ray.selection.rules import Bound, differences, neighbours
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.metrics import metrics_table


@dataclass(frozen=True)
class Selection:
    """A trial selected from a front, with the information needed to assess it."""

    summary: SweepSummary
    trial: TrialRecord
    bounds: Sequence[Bound]
    seeds: SeedGroup | None
    """The trials that differ only in their seeds, if there are several."""
    hardness: Mapping[str, float]
    between: Mapping[str, Any] | None = None
    """For a model between two others: the ends, and the place between them."""
    command: str = ""
    """The command that makes it again; empty for a trial, whose configuration does."""

    @property
    def folder(self) -> StoragePath:
        """The folder of its model and its configuration."""
        return storage_path(self.trial.model_path).parent


def print_selection(selection: Selection, folder: Path, console: Console) -> None:
    """Print the point, the commands to use it, its metrics, and its neighbours on the front."""
    summary, trial, run = selection.summary, selection.trial, selection.folder / RUN_FILE
    reason = " and ".join(map(str, selection.bounds))
    title = "point" if selection.between else "trial"
    lines = {
        "sweep": shown(folder),
        title: f"{trial.trial_id} {describe(trial.parameters)}"
        + (f": meets {reason}" if reason else ": the knee of the front"),
        "status": f"{trial.status}: {trial.reason} ({trial.steps} steps in {trial.unlearning_seconds:.1f} s"
        + (f"; retraining took {retraining})" if (retraining := trial.provenance.get("retraining")) else ")"),
        **guarantee_line(trial),
        **({"ref": f"the reference {trial.reference_origin}"} if trial.reference_origin else {}),
        "model": shown(storage_path(trial.model_path)),
        "load": how_to_load(selection),
        "again": selection.command or runnable(rerun_command(shown(run), folder.name, trial.trial_id)),
    }
    for name, text in lines.items():
        console.text(f"{name:<9}{text}", style="bold" if name == title else "")
    gaps = {
        metric: abs(value - summary.reference[metric])
        for metric, value in trial.measures.items()
        if metric in summary.reference
    }
    columns = {"selected": trial.measures, "original": trial.original, "reference": trial.reference}
    console.print(metrics_table({name: m for name, m in {**columns, "gap to it": gaps}.items() if m}))
    for line in (*neighbour_lines(selection), *known_lines(selection)):
        console.text(line)


def guarantee_line(trial: TrialRecord) -> dict[str, str]:
    """Return how many steps were outside the method's guarantee; empty if it has none."""
    if trial.guaranteed is None:
        return {}
    word = "guaranteed" if trial.guaranteed else "not guaranteed"
    outside = f"{trial.steps_outside_guarantee} of {trial.steps} steps outside the method's guarantee"
    return {"promise": f"{word}: {outside}"}


def neighbour_lines(selection: Selection) -> list[str]:
    """Return a line for each neighbour with its gain and its cost compared with the selected point."""
    summary, trial = selection.summary, selection.trial
    lines = []
    for other in neighbours(summary, trial):
        if other is not None:
            changes = differences(summary, trial, other.measures)
            words = ", ".join(
                f"{'gains' if change > 0 else 'pays'} {number(abs(change))} {objective.metric}"
                for objective, change in zip(summary.objectives, changes, strict=True)
            )
            lines.append(f"next     trial {other.trial_id} {describe(other.parameters)}: {words}")
    return lines or ["next     no other point on the front"]


def known_lines(selection: Selection) -> list[str]:
    """Return what is known about the seeds and the last step."""
    if selection.between:
        return []
    if selection.seeds is None:
        lines = ["seeds    one; --confirm N runs it again with others"]
    else:
        spreads = ", ".join(
            f"{objective.metric} {number(i.mean)} [{number(i.low)}, {number(i.high)}]"
            for objective, i in zip(selection.summary.objectives, selection.seeds.intervals, strict=True)
        )
        lines = [f"seeds    {selection.seeds.trials} in the sweep (mean, 95 % interval): {spreads}"]
    if selection.hardness:
        ends = ", ".join(
            f"{name.replace('_', ' ')} {number(value)}" for name, value in selection.hardness.items()
        )
        lines.append(f"hardness {ends} at the last step")
    return lines


def how_to_load(selection: Selection) -> str:
    """Return how to load the model in Python."""
    if (selection.folder / "config.json").is_file():
        return f"a folder for transformers' from_pretrained: {shown(selection.folder)}"
    if (selection.folder / "adapter_config.json").is_file():
        return f"a folder for peft's from_pretrained: {shown(selection.folder)}"
    return f'safetensors.torch.load_file("{shown(storage_path(selection.trial.model_path))}")'


def as_document(selection: Selection, folder: Path, confirmation: Confirmation | None) -> dict[str, Any]:
    """Return the selection as plain data; undefined values are null."""
    summary, trial, seeds = selection.summary, selection.trial, selection.seeds
    document = {
        "sweep": str(folder),
        "trial": trial.trial_id,
        "status": trial.status,
        "reason": trial.reason,
        "guaranteed": trial.guaranteed,
        "steps_outside_guarantee": trial.steps_outside_guarantee,
        "parameters": trial.parameters,
        "configuration": str(selection.folder / RUN_FILE),
        "model": trial.model_path,
        "objectives": [objective.model_dump() for objective in summary.objectives],
        "bounds": {bound.objective.metric: bound.value for bound in selection.bounds},
        "measures": trial.measures,
        "original": trial.original,
        "reference": trial.reference,
        "neighbours": [
            {"trial": other.trial_id, "parameters": other.parameters, "measures": other.measures}
            for other in neighbours(summary, trial)
            if other is not None
        ],
        "seeds": seeds and {"trials": seeds.trials, "intervals": [i._asdict() for i in seeds.intervals]},
        "hardness": dict(selection.hardness),
        **({"interpolation": selection.between} if selection.between else {}),
        "confirmation": confirmation and confirmation.as_document(),
    }
    return without_nan(document)


def without_nan(value: Any) -> Any:
    """Replace every NaN in plain data by None, because JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
