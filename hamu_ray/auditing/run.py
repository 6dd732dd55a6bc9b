"""An audit from its target to its results: on the terminal, in the models' folders, in MLflow and in the report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from hamu_ray.auditing.delivery import deliver
from hamu_ray.auditing.jobs import BaseJob, ModelJob, base_jobs, run_base_job, run_model_job
from hamu_ray.auditing.subjects import Subject, is_sweep, subjects_of
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import first_line
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.task.language import TextSection
from hamu_ray.metrics.attacks.names import ATTACKS, PARAPHRASE, PREFIX
from hamu_ray.results.audit.finding import Audit
from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.folder import AUDIT_FILE
from hamu_ray.results.outcome import Failure
from hamu_ray.results.wording import number, shown
from hamu_ray.storage import storage_path
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.progress import RunView

Job = TypeVar("Job", BaseJob, ModelJob)
Run = Callable[[Callable[..., Any], Sequence[Job]], Iterator[tuple[Job, Any]]]
"""Calls a function for each job; yields jobs with results, or a `Failure`."""

HEADER = ("", "M", "O", "R", "95 % from", "to", "M is")
"""The interval is that of one more reference."""


def run_audit(
    target: str,
    attacks: Sequence[str] | None = None,
    originals: int | None = None,
    references: int | None = None,
) -> int:
    """Attack the model of a run, in this process, or those of a sweep's front, in the cluster; print the results.

    Without ``attacks``, all are run that the data allow.

    Returns:
        0, or 1 if an attack on one of the models failed.

    Raises:
        ConfigError: The target is neither, a model is missing, the sweep still runs, or the data do not allow one of
            the attacks.
    """
    console = Console()
    sweep = is_sweep(target)
    with Lease(Path(target).absolute()) if sweep else nullcontext():
        subjects = subjects_of(target, originals, references)
        found = audit_subjects(subjects, allowed(subjects, attacks), sweep, console)
        if sweep and found:
            deliver(Path(target).absolute(), found, console)
    return 0 if len(found) == len(subjects) else 1


def allowed(subjects: Sequence[Subject], attacks: Sequence[str] | None) -> Sequence[str]:
    """Return the attacks to run; raises `ConfigError` for a requested one that the data do not allow."""
    refused = {}
    for attack, (may, problem) in NEEDS.items():
        without = [subject.run.data.name for subject in subjects if not may(subject.run)]
        if without and attacks is not None and attack in attacks:
            raise ConfigError(f"--attacks {attack}: the data ({without[0]}) {problem}")
        refused[attack] = bool(without)
    return [attack for attack in attacks or ATTACKS if not refused.get(attack)]


def has_texts(run: RunConfig) -> bool:
    """Whether a run is about texts."""
    return isinstance(run.data, TextSection)


def may_have_paraphrases(run: RunConfig) -> bool:
    """Whether a run's data can have other wordings of their examples."""
    return isinstance(run.data, TextSection) and run.data.may_have_paraphrases


NEEDS: Mapping[str, tuple[Callable[[RunConfig], bool], str]] = {
    PARAPHRASE: (
        may_have_paraphrases,
        "give no other wordings of the examples to forget; name their columns in data.paraphrased_question_column or "
        "data.paraphrased_answer_column (data.name: text), or leave the attack out",
    ),
    PREFIX: (has_texts, "have no texts that a prefix could precede; leave the attack out"),
}
"""The attacks that not all data allow: whether a run's may, and what is wrong if not."""


def audit_subjects(
    subjects: Sequence[Subject], attacks: Sequence[str], on_cluster: bool, console: Console
) -> dict[str, Audit]:
    """Attack models and print the results; return those that did not fail, by the names of the models."""
    bases = base_jobs(subjects, attacks)
    models = [ModelJob(subject, tuple(attacks)) for subject in subjects]
    console.text(f"audit {', '.join(attacks)}: {len(models)} models, {len(bases)} originals and references")
    if not on_cluster:
        with RunView(console) as view:
            return finished(here(view), bases, models, console)
    from hamu_ray.workers.calls import calls  # imports Ray
    from hamu_ray.workers.cluster import connected

    groups = [job.run.workers.alone() for job in models[:1]]
    with connected(groups, models[0].run.storage.path, console.text):
        return finished(calls, bases, models, console)


def here(view: RunView) -> Run:
    """Return what runs jobs in this process, one after the other, and shows their training."""

    def run(function: Callable[..., Any], jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
        for job in jobs:
            try:
                yield job, function(job, view.show)
            except ValueError as error:
                yield job, Failure(f"{type(error).__name__}: {first_line(error)}")

    return run


def finished(
    run: Run, bases: Sequence[BaseJob], models: Sequence[ModelJob], console: Console
) -> dict[str, Audit]:
    """Run the jobs of base models, then those of the models, and print results as they come."""
    for base, end in run(run_base_job, bases):
        if isinstance(end, Failure):
            raise ConfigError(f"{base.name}: {end.reason}")
    found = {}
    for job, end in run(run_model_job, models):
        if isinstance(end, Failure):
            console.verdict(f"{job.name} failed", end.reason, good=False)
        else:
            found[job.name] = end
            show(job.subject, end, console)
    return found


def show(subject: Subject, audit: Audit, console: Console) -> None:
    """Print the results of a model."""
    console.text(f"{subject.name} {subject.title}".rstrip(), style="bold")
    findings = audit.findings
    rows = [
        (
            finding.metric,
            *map(number, (finding.value, finding.original, *finding.references[:3])),
            finding.verdict,
        )
        for finding in findings
    ]
    console.columns(HEADER, rows)
    reasons = dict.fromkeys(finding.reason for finding in findings if finding.reason)
    for reason in reasons:
        names = ", ".join(finding.metric for finding in findings if finding.reason == reason)
        console.text(f"{names}: {reason}")
    if audit.durable is not None:
        by = ", ".join(audit.deciding)
        console.verdict(
            "durable" if audit.durable else "not durable",
            f"durability {number(audit.durability)}, {'no more' if audit.durable else 'more'} is brought back than "
            f"from R by {by}",
            audit.durable,
        )
    console.fields({"audit": shown(storage_path(subject.folder) / AUDIT_FILE)})
