"""The jobs of an audit, each for one process: a base model with what its attacks need, or the attacks on one model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from hamu_ray.auditing.attacks import audit_model
from hamu_ray.auditing.evidence import Evidence
from hamu_ray.auditing.lasting import relearned_base, reworded_base, rounded_base
from hamu_ray.auditing.subjects import Subject
from hamu_ray.config.run import RunConfig, StartConfig
from hamu_ray.config.sources.files import load_run
from hamu_ray.config.task.model_source import ModelSource
from hamu_ray.engine.base_models import BaseModel
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.loop import OnReport
from hamu_ray.engine.provenance import weights_key
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.seeds import PHASES, bases_of_seeds, seed_models, trained_base
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.metrics.attacks import names
from hamu_ray.pairing.group import Alone
from hamu_ray.results.audit.finding import Audit
from hamu_ray.results.folder import AUDIT, RUN_FILE, read_outcome
from hamu_ray.results.outcome import Report, Status, Verdict
from hamu_ray.storage import StoragePath, storage_path


@dataclass(frozen=True)
class BaseJob:
    """Train a base model, unless it is stored, and attack it."""

    run: RunConfig
    base: BaseModel
    attacks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.base.phase} of seed {self.base.seed}"


@dataclass(frozen=True)
class ModelJob:
    """Attack an unlearned model."""

    subject: Subject
    attacks: tuple[str, ...]

    @property
    def run(self) -> RunConfig:
        """The run that unlearned it."""
        return self.subject.run

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.subject.name


def base_jobs(subjects: Sequence[Subject], attacks: Sequence[str]) -> list[BaseJob]:
    """Return a job for each distinct base model of the subjects that is trained."""
    what = {"data", "forget", "model", "training", "reference"}
    found: dict[object, BaseJob] = {}
    for subject in subjects:
        problem = subject.run.model_dump_json(include=what), subject.run.training_seed
        for base in bases_of_seeds(subject.run):
            found.setdefault((problem, base), BaseJob(subject.run, base, tuple(attacks)))
    return list(found.values())


def run_base_job(job: BaseJob, on_report: OnReport | None = None) -> None:
    """Run a job; its results are in the storage."""
    resident = resident_of(job.run.storage.path)
    task = resident.task(job.run)
    stored = trained_base(job.run, task, job.base, on_report or go_on, resident.models)
    if not set(job.attacks) & set(names.LASTING):
        return
    evidence = Evidence(job.run, storage_path(job.run.storage.path), resident, [stored], [stored])
    if names.QUANTISATION in job.attacks:
        rounded_base(evidence, stored)
    for attack in names.WORDINGS.keys() & job.attacks:
        reworded_base(evidence, stored, attack)
    if names.RELEARNING in job.attacks and job.base.phase == "reference":
        # How much has to be known again depends on the first original.
        first = BaseModel(PHASES[0], job.run.training_seed)
        if job.run.original.source == "train":
            original = trained_base(job.run, task, first, on_report or go_on, resident.models)
            relearned_base(Evidence(job.run, evidence.folder, resident, [original], [stored]), stored)


def run_model_job(job: ModelJob, on_report: OnReport | None = None) -> Audit:
    """Run a job; its results are also in the subject's folder."""
    run, folder = job.run, storage_path(job.subject.folder)
    resident = resident_of(run.storage.path)
    found = seed_models(run, resident.task(run), on_report or go_on, resident.models)
    originals, references = (found[phase] for phase in PHASES)

    def more_models() -> list[StoragePath]:
        return [
            unlearned_again(run, number, original, references, resident, folder, on_report or go_on)
            for number, original in enumerate(originals[1:], start=1)
        ]

    return audit_model(Evidence(run, folder, resident, originals, references, more_models), job.attacks)


def unlearned_again(
    run: RunConfig,
    number: int,
    original: StoredModel,
    references: Sequence[StoredModel],
    resident: Resident,
    folder: StoragePath,
    on_report: OnReport,
) -> StoragePath:
    """Run a run from another original with another seed, unless that was done; return its folder.

    If it started at the model of an earlier run, that is run from the original first. The folder's name contains a
    hash of everything that determines the weights: a run with other hyperparameters, whose results replaced those in
    ``folder``, has others. Raises `ValueError` if it does not finish.
    """
    start = run.start
    if start is not None:
        earlier = load_run(str(storage_path(start.path) / RUN_FILE))
        begun = unlearned_again(earlier, number, original, references, resident, folder, on_report)
        start = StartConfig(path=str(begun))
    again = run.model_copy(
        update={
            "start": start,
            "seed": run.seed + number,
            "training": run.training.model_copy(update={"seed": run.training_seed}),
            "original": ModelSource(source="path", path=str(original.path)),
            "workers": run.workers.alone(),
        }
    )
    key = weights_key(again, original, references[0] if references else None)
    place = folder / AUDIT / f"seed-{number}-{key}"
    outcome = read_outcome(place)
    if outcome is None:
        outcome = unlearn(again, resident, Alone(), place, on_report)
    if outcome.status is not Status.FINISHED:
        raise ValueError(f"seed {again.seed} of the run ended as {outcome.status}: {outcome.reason}")
    return place


@cache
def resident_of(storage: str) -> Resident:
    """Return the data and models of this process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Resident(storage_path(storage), device)


def go_on(report: Report) -> Verdict:
    """Take a report without an answer to it."""
    return Verdict.GO_ON
