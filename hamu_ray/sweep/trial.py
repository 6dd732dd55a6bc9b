"""What a sweep knows of a trial when it is over."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a trial ended. Only a finished trial can stand on the front."""

    FINISHED = "finished"
    """All steps, or a stop rule that the configuration asked for."""
    INFEASIBLE = "infeasible"
    """Stopped because no step could meet the constraint, as configured."""
    COLLAPSED = "collapsed"
    """The model lost its skill: non-finite numbers, or a retain perplexity far above the original's."""
    FAILED = "failed"
    """An error, given in `reason`."""
    INTERRUPTED = "interrupted"
    """The sweep ended before the trial did."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial's end: plain data, written as JSON next to the model."""

    trial_id: str
    status: Status
    parameters: dict[str, Any]
    """The sampled values by key path, such as ``{"method.name": "hamu-q", "optimizer.learning_rate": 0.01}``."""
    configuration: dict[str, Any]
    """The whole resolved run, as `RunConfig.model_dump(mode="json")`."""
    measures: dict[str, float] = field(default_factory=dict)
    """Final measures, NaN where undefined."""
    reason: str = ""
    """Why it ended: the stop rule, or the error's first line."""
    model_path: str = ""
    """Folder with the unlearned `model.safetensors`."""
    steps: int = 0
    unlearning_seconds: float = float("nan")
