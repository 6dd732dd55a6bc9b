"""The rows of scripts/studies/claims, read for tables and pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hamu_ray.results.pareto.front import hypervolume

ARM = ["method", "constraint_fraction"]
RUN = ["label", "rho", *ARM, "learning_rate", "seed"]
OBJECTIVES = ["forget_quality", "retain_utility"]


@dataclass(frozen=True)
class Run:
    """A run: its model after so many steps, from O at step 0, and the reference R."""

    label: int
    rho: float
    method: str
    fraction: float
    """HAMU's constraint as a fraction; NaN for other methods."""
    learning_rate: float
    seed: int
    path: pd.DataFrame
    reference: pd.Series

    @property
    def arm(self) -> str:
        """The method, with its fraction."""
        return self.method if np.isnan(self.fraction) else f"{self.method} {self.fraction:g}"

    @property
    def is_hamu(self) -> bool:
        """Whether it is one of the two variants."""
        return self.method.startswith("hamu")

    @property
    def changes(self) -> np.ndarray:
        """How much the forget and the retain loss are above O's ``(evaluations, 2)``."""
        losses = self.path[["forget_loss", "retain_loss"]].to_numpy()
        return losses - losses[0]

    @property
    def free(self) -> pd.Series:
        """The fraction of the available change that costs nothing, by evaluation; NaN for other methods."""
        return 1 - self.path["hardness"]

    @property
    def sine(self) -> float:
        """The sine of the gradients' angle at O; 1 without a conflict."""
        cosine = max(0.0, float(self.path["gradient_cosine"].iloc[0]))
        return float(np.sqrt(max(0.0, 1 - cosine**2)))

    def to_reference(self) -> tuple[float, float, float] | None:
        """Return what was paid when the forget loss reached R's: steps, retain loss, retain utility; None if never.

        Between two evaluations, values are interpolated. Where O is at R's loss, nothing is to be paid.
        """
        forget = self.path["forget_loss"].to_numpy()
        above = np.flatnonzero(forget >= self.reference["forget_loss"])
        if not len(above):
            return None
        last = int(above[0])
        if last == 0:
            return 0.0, 0.0, 0.0
        part = (self.reference["forget_loss"] - forget[last - 1]) / (forget[last] - forget[last - 1])

        def at(name: str) -> float:
            values = self.path[name].to_numpy(dtype=float)
            return float(values[last - 1] + part * (values[last] - values[last - 1]))

        start = self.path.iloc[0]
        return (
            at("step"),
            at("retain_loss") - start["retain_loss"],
            start["retain_utility"] - at("retain_utility"),
        )

    def criterion(self) -> int | None:
        """Return the first evaluation at which less is free than HAMU's constraint asks for; None if there is none."""
        fired = np.flatnonzero((self.free < self.fraction).to_numpy())
        return int(fired[0]) if len(fired) else None


class Claims:
    """The runs of a table."""

    def __init__(self, path: Path) -> None:
        """Read the table."""
        rows = pd.read_csv(path)
        self.runs = [_run(key, group) for key, group in rows.groupby(RUN, sort=True, dropna=False)]
        self.arms = list(dict.fromkeys(run.arm for run in sorted(self.runs, key=lambda run: not run.is_hamu)))
        self.rates = sorted({run.learning_rate for run in self.runs})
        self.rhos = sorted({run.rho for run in self.runs})

    def of(self, **given: object) -> Iterator[Run]:
        """Yield the runs with these attributes."""
        for run in self.runs:
            if all(getattr(run, name) == value for name, value in given.items()):
                yield run

    def problems(self) -> list["Problem"]:
        """Return what HAMU comes to on each problem."""
        names = sorted({(run.label, run.rho) for run in self.runs})
        return [_problem(label, rho, [*self.of(label=label, rho=rho)]) for label, rho in names]


@dataclass(frozen=True)
class Problem:
    """A forget set."""

    label: int
    rho: float
    hardness: float
    """Of `hamu-q` at O, mean over its runs."""
    cosine: float
    """Of both gradients at O, mean over all runs."""
    nothing: float
    """The hypervolume of O."""
    volume: float
    """That of all models on HAMU's paths."""
    ceiling: float
    """That of R: its forget quality is 1."""
    cost: float
    """Of HAMU's runs that reach R's forget loss, the median rise of the retain loss; NaN if none does."""


def _run(key: Sequence[object], rows: pd.DataFrame) -> Run:
    is_reference = rows["step"] == "R"
    path = rows[~is_reference].assign(step=lambda each: each["step"].astype(int)).sort_values("step")
    label, rho, method, fraction, rate, seed = key
    return Run(
        int(label),
        float(rho),
        str(method),
        float(fraction),
        float(rate),
        int(seed),
        path,
        rows[is_reference].iloc[0],
    )


def _problem(label: int, rho: float, runs: Sequence[Run]) -> Problem:
    hamu = [run for run in runs if run.is_hamu]
    points = np.concatenate([run.path[OBJECTIVES].to_numpy() for run in hamu])
    start = hamu[0].path.iloc[0]
    costs = [paid[1] for run in hamu if (paid := run.to_reference()) is not None]
    return Problem(
        label,
        rho,
        hardness=float(np.mean([run.path["hardness"].iloc[0] for run in hamu if run.method == "hamu-q"])),
        cosine=float(np.mean([run.path["gradient_cosine"].iloc[0] for run in runs])),
        nothing=float(start["forget_quality"] * start["retain_utility"]),
        volume=hypervolume(points),
        ceiling=float(hamu[0].reference["retain_utility"]),
        cost=float(np.median(costs)) if costs else float("nan"),
    )
