"""The reports of a run while it runs, and its outcome."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.metrics import names
from hamu_ray.metrics.measured import Measures
from hamu_ray.results.durable.sealed import seal, unseal


class Status(StrEnum):
    """Status of an ended run. Only a finished run can be on a front."""

    FINISHED = "finished"
    """Completed all steps, or stopped by a configured rule that counts as success."""
    INFEASIBLE = "infeasible"
    """Stopped because no step could meet the constraint, as configured."""
    COLLAPSED = "collapsed"
    """The model collapsed: non-finite numbers, or a retain perplexity far above the original's."""
    PRUNED = "pruned"
    """Stopped early because other trials were better at the same step."""
    FAILED = "failed"
    """An error, given as the reason."""
    INTERRUPTED = "interrupted"
    """Stopped from outside before it was done."""


NO_REFERENCE = frozenset({"none", "held_out", "base"})
"""Kinds of `Outcome.reference_kind` for which something else stands for a model trained without the forget set."""


class Verdict(IntEnum):
    """Answer of a callback to a report."""

    GO_ON = 0
    INTERRUPT = 1
    PRUNE = 2
    STOP = 3
    """End for good, as a person asked for (`hamu_ray.steer`)."""


@dataclass(frozen=True)
class Report:
    """A report of a run: an evaluation, the steps since the last report, or both."""

    phase: str
    """``original``, ``reference`` (their training) or ``unlearning``."""
    step: int
    """Steps taken so far."""
    total_steps: int
    measures: Measures = field(default_factory=dict)
    """Metrics of the evaluation at this step; empty if there was none."""
    history: dict[str, list[float]] = field(default_factory=dict)
    """Diagnostics of the steps since the last report, by name; one value per step."""
    history_steps: list[int] = field(default_factory=list)
    """The steps of `history`, counted from 1."""


def dump_reports(reports: Sequence[Report]) -> bytes:
    """Serialise reports to JSON with a digest."""
    return seal({"reports": [asdict(report) for report in reports]})


def load_reports(content: bytes, name: str) -> list[Report]:
    """Parse the output of `dump_reports`; raises `Damaged` with the file's ``name``."""
    return [Report(**document) for document in unseal(content, name)["reports"]]


@dataclass(frozen=True)
class StepPoint:
    """A model that a run had on its way, whose weights were kept."""

    step: int
    """Steps taken until then."""
    measures: Measures
    """Metrics of a full evaluation, as at the end of a run."""
    steps_outside_guarantee: int | None = None
    """As `Outcome.steps_outside_guarantee`, of the steps until then."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run."""

    status: Status
    reason: str
    """Why it ended, in words."""
    steps: int
    measures: Measures
    seconds: float
    """Wall time of the steps only, or of an edit, without evaluation and loading."""
    gradient_computations: int
    """Number of computed gradients of a global batch: two per step for paired methods. Those of an edit count as global
    batches of as many examples.
    """
    resumed_at: int = 0
    """The step at which this process resumed the run; 0 if it ran all steps itself."""
    evaluation_seconds: float = 0.0
    """Wall time of the evaluations, in the process that ended the run."""
    exchange_bytes: float = 0.0
    """Bytes that each worker sent, and received, per step on average."""
    reference_kind: str = ""
    """Why the reference is considered free of the forget set, as in `hamu_ray.tasks.models.start.Origin`: ``assumed``
    if only the configuration states it.
    """
    reference_origin: str = ""
    """The same in words, to continue `the reference`."""
    nothing_to_forget: str = ""
    """Explanation if the original model did not know the forget set before unlearning; otherwise empty."""
    paused: bool = False
    """Whether it stopped at a rung, with a checkpoint from which it is continued if it is promoted."""
    steps_outside_guarantee: int | None = None
    """Number of steps in the whole run whose equivalent gradient left a block's radius or missed the whole model's
    constraint; None for methods without a guarantee.
    """

    points: Sequence[StepPoint] = ()
    """Models on its way that were kept, in order of their steps."""

    @property
    def costs(self) -> dict[str, float]:
        """What it cost, by the names of `hamu_ray.metrics.names.ENGINE`, as far as known when it ends."""
        return {
            names.STEPS: float(self.steps),
            names.UNLEARNING_SECONDS: self.seconds,
            names.EVALUATION_SECONDS: self.evaluation_seconds,
            names.GRADIENT_COMPUTATIONS: float(self.gradient_computations),
            names.EXCHANGE_BYTES: self.exchange_bytes,
        }

    def with_costs(self, metrics: Collection[str]) -> dict[str, float]:
        """Return its metrics, and those of its costs that are among these ones; empty if it was not evaluated."""
        costs = {name: value for name, value in self.costs.items() if name in metrics}
        return {**self.measures, **costs} if self.measures else {}

    @property
    def is_over(self) -> bool:
        """Whether the run will not go on."""
        return not (self.status is Status.INTERRUPTED or self.paused)

    @property
    def guaranteed(self) -> bool | None:
        """Whether every step was within the method's guarantee; None for methods without a guarantee.

        The guarantee refers to steps of plain SGD, to first order, on their own batches. With momentum, weight decay or
        AdamW, `promise_kept` in the history shows how much of it remains.
        """
        return None if self.steps_outside_guarantee is None else self.steps_outside_guarantee == 0


@dataclass(frozen=True)
class Failure:
    """Why a job failed."""

    reason: str
    storage_lost: bool = False
    """Whether the storage could not be written, which is not the job's fault: it is run again later."""

    def __post_init__(self) -> None:
        """Redact credentials, because the reason is stored, shown and sent."""
        object.__setattr__(self, "reason", without_credentials(self.reason))
