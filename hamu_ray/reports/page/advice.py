"""The head of a report page: the main result in a sentence, and suggested next steps."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hamu_ray.config.space import METHOD_NAME
from hamu_ray.reports.analysis.comparison import MethodVolume
from hamu_ray.reports.analysis.problems import Problem, SeedGroup
from hamu_ray.results.wording import capitalised, counted, last_word, number, percent, setting, words

EDGE = 0.05
"""A value within this fraction of a domain's end (on the domain's scale) counts as lying at the end."""


@dataclass(frozen=True)
class Advice:
    """A suggestion, and the command that carries it out, if there is one."""

    text: str
    command: str = ""


def headline(problem: Problem) -> str:
    """Return the main result: the best balance found."""
    knee = problem.knee
    if knee is None:
        running = sum(m.record.running for m in problem.trials)
        if running:
            return f"No result yet: {counted(running, 'trial')} still running"
        if problem.summary.outside_constraints:
            return f"No finished trial meets {problem.summary.bounds}: there is no front"
        return "No trial finished: there is no front"
    values = [
        f"{words(o.metric)} {number(interval.mean)}"
        for o, interval in zip(problem.objectives, knee.intervals, strict=True)
    ]
    method = knee.method.replace("-", "\u2011")  # non-breaking hyphen
    return f"Best balance: {method}, with {', '.join(values[:-1])} and {values[-1]}"


def lede(problem: Problem, volumes: list[MethodVolume]) -> str:
    """Return two or three sentences that put the main result in context."""
    summary, knee = problem.summary, problem.knee
    gate = [f"{capitalised(sentence)}." for sentence in summary.nothing_to_forget]
    stands_in = summary.missing_references
    gate += [f"The reference {origin}." for origin in stands_in]
    if knee is None:
        ended = Counter(m.ended for m in problem.trials)
        counts = ", ".join(f"{n} {how}" for how, n in ended.items())
        return " ".join([*gate, f"{counted(len(problem.trials), 'trial')}: {counts}."])
    points = "the only point" if len(problem.front) == 1 else f"the knee of {len(problem.front)} points"
    sentences = [*gate, f"It is {points} on the front of {counted(len(problem.trials), 'trial')}."]
    if summary.constraints:
        sentences.append(f"{summary.outside_constraints} of the finished do not meet {summary.bounds}.")
    gap = knee.record.measures.get("avg_gap", math.nan)
    if math.isfinite(gap):
        other = "what stands for the reference" if stands_in else "a model trained without the forget set"
        sentences.append(
            f"Its accuracies, the confidence attack's included, differ by {number(gap)} on average from those of "
            f"{other}."
        )
    corner = ", ".join(number(value) for value in summary.best_corner)
    sentences.append(f"The front covers {percent(summary.hypervolume_share)} of the box up to ({corner}).")
    if len(volumes) > 1:
        best, second = volumes[:2]
        tied = math.isclose(best.interval.mean, second.interval.mean, abs_tol=5e-5)
        verb = "share the largest hypervolume" if tied else "has the largest hypervolume of one method"
        who = f"{best.method} and {second.method}" if tied else best.method
        sentences.append(f"{who} {verb}, {number(best.interval.mean)}.")
    return " ".join(sentences)


def next_steps(problem: Problem) -> Iterator[Advice]:
    """Yield suggestions for what to do next."""
    knee = problem.knee
    if knee is not None:
        yield Advice("Use the knee, or run its configuration again:", rerun_command(knee))
        yield from _edges(problem, knee)
        if len(problem.seeds) < 3:
            have = "one seed" if len(problem.seeds) == 1 else f"{len(problem.seeds)} seeds"
            yield Advice(
                f"All of this is from {have}. Before trusting a difference between methods, repeat the sweep over "
                "three or more:",
                "--set 'space.seed={grid: [41, 42, 43]}'",
            )
    failed = [m for m in problem.trials if m.ended == "failed"]
    if failed:
        reason, times = Counter(
            m.record.reason.splitlines()[0][:120] for m in failed if m.record.reason
        ).most_common(1)[0]
        yield Advice(
            f"{counted(len(failed), 'trial')} failed; the most common reason ({times} times): {reason}"
        )
    if knee is None and problem.summary.outside_constraints:
        yield Advice(
            f"No finished trial meets {problem.summary.bounds}. Try more samples, or relax the bound."
        )
    elif knee is None and not failed and not any(m.record.running for m in problem.trials):
        yield Advice(
            "Every trial ended early. Lower optimizer.learning_rate or take fewer steps so that the model keeps its "
            "performance, and check the reasons below."
        )
    for sweep in {m.sweep.key: m.sweep for m in problem.trials}.values():
        waiting = (sweep.expected or 0) - sum(not trial.running for trial in sweep.trials)
        if waiting > 0 and not sweep.running:
            yield Advice(
                f"{sweep.name}: {counted(waiting, 'trial')} of {sweep.expected} did not complete. To resume, "
                "repeat its command with --resume."
            )


def rerun_command(group: SeedGroup) -> str:
    """Return the command that runs a configuration again."""
    trial = group.trials[0]
    return trial.sweep.source.rerun_command(trial.name_in_sweep)


def model_folder(group: SeedGroup) -> str:
    """Return the folder of the model of a group's first seed; empty if the model was not kept."""
    path = group.trials[0].record.model_path
    return path.rpartition("/")[0] or str(Path(path).parent) if path else ""


def _edges(problem: Problem, knee: SeedGroup) -> Iterator[Advice]:
    """Yield the knee's hyperparameters that lie at an end of their domain, where better values may lie beyond."""
    config = knee.trials[0].sweep.config
    parameters = {METHOD_NAME: knee.method, **knee.settings}  # domains depend on the method
    for path, value in knee.settings.items():
        domain = config.domain(path, parameters) if config and path in config.space else None
        bounds = (domain.loguniform or domain.uniform) if domain else None
        if domain is None or bounds is None or not isinstance(value, int | float):
            continue
        scale = math.log if domain.loguniform else float
        place = (scale(value) - scale(bounds[0])) / (scale(bounds[1]) - scale(bounds[0]))
        if not EDGE <= place <= 1 - EDGE:
            end = "lower" if place < EDGE else "upper"
            yield Advice(
                f"The knee's {last_word(path)} {setting(value)} lies at the {end} end of its search range "
                f"({bounds[0]:g} to {bounds[1]:g}): extend the range."
            )
