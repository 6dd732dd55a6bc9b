"""How the time of a sweep was used."""

import math
from dataclasses import dataclass


@dataclass
class Usage:
    """How a sweep's time was used."""

    began: float = math.nan
    """When the first trial started to unlearn, on the monotonic clock."""
    ended: float = math.nan
    """When the last trial ended."""
    worked: float = 0.0
    """Seconds of gradient steps and evaluation, over all ended trials."""
    gpu_seconds: float = 0.0
    """The same, multiplied by the GPUs of each trial."""
    gpu_seconds_held: float = 0.0
    """For how long the cluster had GPUs while trials ran, over all GPUs."""
    at_once: int = 0
    """Maximum number of trials that ran at the same time."""

    @property
    def seconds(self) -> float:
        """Seconds from the first trial's first step to the last trial's end; NaN if none ran."""
        return self.ended - self.began

    @property
    def share(self) -> float:
        """The fraction of that time spent on gradient steps and evaluation."""
        return self.worked / (self.seconds * self.at_once) if self.at_once else math.nan

    @property
    def idle_gpu_minutes(self) -> float:
        """GPU minutes of the cluster in which no trial computed."""
        return max(0.0, self.gpu_seconds_held - self.gpu_seconds) / 60

    def end(self, began: float, now: float, worked: float, gpus: float = 0.0) -> None:
        """Count a trial that has ended, with its seconds of work and its GPUs.

        What it worked before ``began``, when this driver started it, was under another driver of the sweep.
        """
        self.ended = now
        if not math.isnan(worked):
            here = min(worked, now - max(began, self.began))
            self.worked += here
            self.gpu_seconds += here * gpus
