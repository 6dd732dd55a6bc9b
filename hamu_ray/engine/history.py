"""The history of a run: totals of each step for logging, diagnostics of every block, and reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from hamu_ray.methods import Decision
from hamu_ray.results.outcome import Report


@dataclass
class History:
    """The diagnostics of steps; they stay on the device until they are taken."""

    blocks: list[str] = field(default_factory=list)
    """Names of the blocks."""
    names: list[str] = field(default_factory=list)
    """Names of the totals."""
    block_names: list[str] = field(default_factory=list)
    """Names of the diagnostics of each block."""
    past: list[Tensor] = field(default_factory=list)
    """Block diagnostics that were taken, over the whole run: CPU, float32 ``(steps, diagnostics, blocks)``."""
    reports: list[Report] = field(default_factory=list)
    """Reports of rank 0, kept so that a run resumed elsewhere can send them again."""
    _steps: list[int] = field(default_factory=list)
    _totals: list[Tensor] = field(default_factory=list)
    _per_block: list[Tensor] = field(default_factory=list)

    def add(self, step: int, diagnostics: Mapping[str, Tensor], decision: Decision) -> None:
        """Add a step's diagnostics; steps count from 1."""
        self.names, self.block_names = list(diagnostics), list(decision.block_names)
        self._steps.append(step)
        self._totals.append(torch.stack([value.double() for value in diagnostics.values()]))
        self._per_block.append(decision.per_block)

    def cut(self, step: int) -> None:
        """Discard what was added for steps after this one."""
        kept = sum(added <= step for added in self._steps)
        for values in (self._steps, self._totals, self._per_block):
            del values[kept:]

    def until(self, step: int) -> "History":
        """Return the history of a run that ends after this step, of which it was taken and reported.

        Its last report has the diagnostics of the last steps, without metrics.
        """
        reports = [replace(report, total_steps=step) for report in self.reports if report.step <= step]
        reports[-1] = replace(reports[-1], measures={})
        past = [torch.cat(self.past)[:step]] if self.past else []
        return History(self.blocks, self.names, self.block_names, past, reports)

    def take(self) -> tuple[list[int], dict[str, list[float]]]:
        """Return the steps since the last call and their totals by name, with two transfers for all."""
        if not self._steps:
            return [], {}
        columns = torch.stack(self._totals).T.tolist()
        self.past.append(torch.stack(self._per_block).float().cpu())
        steps, self._steps, self._totals, self._per_block = self._steps, [], [], []
        return steps, dict(zip(self.names, columns, strict=True))

    def by_block(self) -> dict[str, np.ndarray]:
        """Return each diagnostic of the taken steps, float32 ``(steps, blocks)``, and the names of the ``blocks``."""
        values = torch.cat(self.past).numpy()
        named = {name: values[:, i] for i, name in enumerate(self.block_names)}
        return {**named, "blocks": np.array(self.blocks)}
