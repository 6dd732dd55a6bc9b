"""What a sweep knows of a trial when it is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hamu_ray.results.outcome import Status

__all__ = ["Status", "TrialRecord"]


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
    original: dict[str, float] = field(default_factory=dict)
    """The original model's measures, compared like the trial's."""
    reference: dict[str, float] = field(default_factory=dict)
    """The retain-only reference's; empty where there is none."""
    reason: str = ""
    """Why it ended: the stop rule, or the error's first line."""
    model_path: str = ""
    """The unlearned `model.safetensors`; empty where the trial left none."""
    curve: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """The two objectives at each step where the run was evaluated."""
    nodes: Sequence[str] = ()
    """Where its workers were, one node after the other where it moved: each an address and Ray's id of it."""
    steps: int = 0
    unlearning_seconds: float = float("nan")
    evaluation_seconds: float = float("nan")
