"""What a run says while it runs, and how it ends."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.metrics.measured import Measures


class Status(StrEnum):
    """How a run ended. Only a finished run can stand on a front."""

    FINISHED = "finished"
    """All steps, or a stop rule that the configuration asked for."""
    INFEASIBLE = "infeasible"
    """Stopped because no step could meet the constraint, as configured."""
    COLLAPSED = "collapsed"
    """The model lost its skill: non-finite numbers, or a retain perplexity far above the original's."""
    PRUNED = "pruned"
    """Ended early as its configuration allows: others were far better at the same step."""
    FAILED = "failed"
    """An error, given as the reason."""
    INTERRUPTED = "interrupted"
    """Ended from outside before it was done."""


class Verdict(IntEnum):
    """What a listener answers to a report."""

    GO_ON = 0
    INTERRUPT = 1
    PRUNE = 2


@dataclass(frozen=True)
class Report:
    """News of a run: an evaluation, the steps since the last report, or both."""

    phase: str
    """``original``, ``reference`` (their training) or ``unlearning``."""
    step: int
    """Steps taken so far."""
    total_steps: int
    measures: Measures = field(default_factory=dict)
    """Of the evaluation at this step; empty if there was none."""
    history: dict[str, list[float]] = field(default_factory=dict)
    """Diagnostics of the steps since the last report, by name; one value a step."""
    history_steps: list[int] = field(default_factory=list)
    """The steps that `history` is of, counted from 1."""


def dump_reports(reports: Sequence[Report]) -> bytes:
    """Return reports as JSON; NaN stays NaN, which Python's JSON reads back."""
    return json.dumps([asdict(report) for report in reports]).encode()


def load_reports(content: bytes) -> list[Report]:
    """Return what `dump_reports` wrote."""
    return [Report(**document) for document in json.loads(content)]


@dataclass(frozen=True)
class Outcome:
    """The end of a run."""

    status: Status
    reason: str
    """Why it ended, in words."""
    steps: int
    measures: Measures
    seconds: float
    """Wall time of the steps alone: no evaluation, no loading."""
    gradient_computations: int
    """Gradients of a global batch that were computed: two a step for paired methods."""
    resumed_at: int = 0
    """The step after which this process took the run over; 0 when it took all steps itself."""
    evaluation_seconds: float = 0.0
    """Wall time of the measurements, in the process that ended the run."""
    exchange_bytes: float = 0.0
    """Bytes that each worker sent to the others in a step, and received from them, on average over the steps."""
    reference_kind: str = ""
    """Why the reference should never have met the data to forget, as `hamu_ray.tasks.start.Origin` names it:
    ``assumed`` where nothing but the configuration's word stands for that."""
    reference_origin: str = ""
    """The same in words, to follow after `the reference`."""
    nothing_to_forget: str = ""
    """In words, where the original model did not know the forget set before unlearning; empty where it did."""
    steps_outside_guarantee: int | None = None
    """Steps whose equivalent gradient left a block's radius or missed the whole model's constraint, over the whole
    run; None for methods that guarantee nothing."""

    @property
    def guaranteed(self) -> bool | None:
        """Whether every step was within the method's guarantee; None for methods that guarantee nothing.

        It is plain SGD's steps that are guaranteed, to first order, on their own batches. What momentum, weight
        decay or AdamW leave of it, `promise_kept` in the history shows.
        """
        return None if self.steps_outside_guarantee is None else self.steps_outside_guarantee == 0


@dataclass(frozen=True)
class Failure:
    """Why a job failed."""

    reason: str

    def __post_init__(self) -> None:
        """Keep credentials out of it: it is kept, shown and sent."""
        object.__setattr__(self, "reason", without_credentials(self.reason))
