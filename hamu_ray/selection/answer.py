"""Select a point of a sweep's Pareto front; print its metrics and the trade-offs of its neighbours."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.results.folder import RUN_FILE, rerun_command
from hamu_ray.results.pareto.summary import SeedGroup, SweepSummary, method_of, over_seeds, settings_of
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import counted, describe, number, runnable, shown
from hamu_ray.selection.confirmation import Confirmation, check_seeds
from hamu_ray.selection.rules import (
    Bound,
    best,
    differences,
    floor_of,
    in_force,
    nearest_miss,
    neighbours,
    relaxed,
)
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.metrics import metrics_table

HARDNESS = ("gradient_cosine", "gradient_angle", "infeasible_blocks", "stopping_margin")
"""Diagnostics whose values at the last step are printed."""


@dataclass(frozen=True)
class Selection:
    """A trial selected from a front, with the information needed to assess it."""

    summary: SweepSummary
    trial: TrialRecord
    bounds: Sequence[Bound]
    seeds: SeedGroup | None
    """The trials that differ only in their seeds, if there are several."""
    hardness: Mapping[str, float]

    @property
    def folder(self) -> StoragePath:
        """The folder of its model and its configuration."""
        return storage_path(self.trial.model_path).parent


def decide(
    folder: Path,
    asked: Sequence[tuple[str, str, float]] = (),
    confirm: int | None = None,
    seeds: str | None = None,
    as_json: bool = False,
    push: str | None = None,
    dry_run: bool = False,
) -> int:
    """Select a point of the front, print it, confirm it if requested, and publish it if it was not refuted.

    Returns 0, or 1 if no point meets the bounds or the confirmation fails.

    Raises:
        ConfigError: A bound or the seeds are invalid, or the sweep has no front.
    """
    console = Console(stderr=as_json)
    if push is not None:
        from hamu_ray.publishing.push import check_repo, publish  # imports the hub's client

        check_repo(push, dry_run)
    sweep = read_sweep(folder)
    unconstrained = relaxed(sweep.summary, floor_of(sweep.summary))
    if not unconstrained.front:
        raise ConfigError(
            f"{shown(folder)}: none of its {len(sweep.trials)} trials is on a front; give another sweep"
        )
    requested = bounds_of(sweep.summary, asked)
    bounds = in_force(sweep.summary, requested)
    summary = relaxed(sweep.summary, requested)
    used = {int(trial.configuration["seed"]) for trial in sweep.trials}
    fresh = check_seeds(confirm, seeds, used)
    found = best(summary, bounds)
    if found is None:
        closest = nearest_miss(unconstrained, bounds)
        assert closest is not None
        print(
            f"no point of the front meets {' and '.join(map(str, bounds))}; the nearest is trial {closest.trial_id} "
            f"({describe(closest.parameters)}): {metrics_line(summary, closest.measures, bounds)}",
            file=sys.stderr if as_json else sys.stdout,
        )
        return 1
    trial = sweep.source.record(found.trial_id) or found
    selection = Selection(summary, trial, bounds, group_of(summary, found), hardness_of(sweep, found))
    if not as_json:
        print_selection(selection, folder, console)
    confirmation = None
    if fresh:
        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            from hamu_ray.selection.confirm import confirm_trial  # imports the checks of a sweep

            confirmation = confirm_trial(folder, trial, fresh, bounds)
    if as_json:
        print(json.dumps(as_document(selection, folder, confirmation), indent=2, default=str))
    elif confirmation:
        confirmation.print(console)
    if confirmation is not None and not confirmation.holds:
        return 1
    if push is not None:
        publish(push, folder, trial, why_selected(selection), dry_run, console.text)
    return 0


def why_selected(selection: Selection) -> str:
    """Return a sentence for people who see only the model: what it was selected from, and by what."""
    summary = selection.summary
    reason = " and ".join(map(str, selection.bounds))
    point = f"the point of the front with {reason}" if reason else "the knee of the front"
    return f"Selected from {counted(len(summary.trials), 'trial')} of a sweep: {point}."


def bounds_of(summary: SweepSummary, asked: Sequence[tuple[str, str, float]]) -> list[Bound]:
    """Parse the requested bounds; raises `ConfigError` for a metric that is not an objective or a wrong direction."""
    known = {objective.metric: objective for objective in summary.objectives}
    bounds: dict[str, Bound] = {}
    for kind, metric, value in asked:
        if metric not in known:
            raise ConfigError(f"--{kind} {metric}: not an objective of this sweep; {nearest(metric, known)}")
        mode = "min" if known[metric].maximise else "max"
        if kind != mode:
            better = "more" if known[metric].maximise else "less"
            raise ConfigError(
                f"--{kind} {metric}: {better} of it is better; give --{mode} {metric}={value:g}"
            )
        if not math.isfinite(value) or metric in bounds:
            raise ConfigError(f"--{kind} {metric}: give one finite number")
        bounds[metric] = Bound(known[metric], value)
    return list(bounds.values())


def group_of(summary: SweepSummary, trial: TrialRecord) -> SeedGroup | None:
    """Return the trials that differ from this one only in their seeds, if there are any."""
    settings = settings_of(trial, without_seeds=True)
    for group in over_seeds(summary):
        if (group.method, group.parameters) == (method_of(trial), settings):
            return group
    return None


def hardness_of(sweep: SweepResult, trial: TrialRecord) -> dict[str, float]:
    """Return diagnostics of the last step; empty if the run's reports were not kept."""
    histories = {name: sweep.source.history(trial.trial_id, name) for name in HARDNESS}
    return {name: history[max(history)] for name, history in histories.items() if history}


def metrics_line(summary: SweepSummary, measures: Mapping[str, float], bounds: Sequence[Bound]) -> str:
    """Return the objectives, and other metrics that have a bound, with their values."""
    objectives = [*summary.objectives, *(bound.objective for bound in bounds)]
    names = dict.fromkeys(objective.metric for objective in objectives)
    return ", ".join(f"{name} {number(measures.get(name, math.nan))}" for name in names)


def print_selection(selection: Selection, folder: Path, console: Console) -> None:
    """Print the point, the commands to use it, its metrics, and its neighbours on the front."""
    summary, trial, run = selection.summary, selection.trial, selection.folder / RUN_FILE
    reason = " and ".join(map(str, selection.bounds))
    lines = {
        "sweep": shown(folder),
        "trial": f"{trial.trial_id} {describe(trial.parameters)}"
        + (f": meets {reason}" if reason else ": the knee of the front"),
        "status": f"{trial.status}: {trial.reason} ({trial.steps} steps in {trial.unlearning_seconds:.1f} s)",
        **guarantee_line(trial),
        **({"ref": f"the reference {trial.reference_origin}"} if trial.reference_origin else {}),
        "model": shown(storage_path(trial.model_path)),
        "load": how_to_load(selection),
        "again": runnable(rerun_command(shown(run), folder.name, trial.trial_id)),
    }
    for name, text in lines.items():
        console.text(f"{name:<9}{text}", style="bold" if name == "trial" else "")
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
