"""The models on the line between two models of a run's problem, evaluated in this process."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import CHEAP, base_models
from hamu_ray.engine.files.given import built
from hamu_ray.engine.files.run_folder import RunResult, write_result
from hamu_ray.engine.files.tensors import load_tensors
from hamu_ray.engine.history import History
from hamu_ray.engine.loop import OnReport
from hamu_ray.engine.provenance import identity_of_model, provenance_of_run
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.state import changing_state, put_state
from hamu_ray.interpolation.weights import between, moves_statistics
from hamu_ray.metrics.measured import Measures
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Report
from hamu_ray.results.provenance import Interpolation, ModelIdentity
from hamu_ray.storage import StoragePath, sha256_of_file
from hamu_ray.tasks.task import Task

ORDER_STREAM = 7
"""Separates the order of the examples that BatchNorm's statistics are estimated on from others with the same seed."""


@dataclass(frozen=True)
class Ends:
    """The ends of a line: from a run's original, or from another model of its problem, to its own model."""

    run: RunConfig
    second: StoragePath
    """Folder of the run's model."""
    first: StoragePath | None = None
    """Folder of the other model; None: the original."""


class Line:
    """The models on a line; one at a time is in memory, besides the ends."""

    def __init__(self, ends: Ends, resident: Resident, on_report: OnReport) -> None:
        """Load the ends; missing base models are trained first, with reports to the callback.

        Raises:
            ValueError: A model cannot be loaded or does not fit, or nothing is between them; in one line.
        """
        run = self._run = ends.run
        if run.workers.shards > 1:
            raise ValueError(f"workers.shards: {run.workers.shards}: only whole models are interpolated")
        self._ends, self._resident = ends, resident
        self._task: Task = resident.task(run)
        self._original, self._reference = base_models(run, self._task, Alone(), on_report, resident.models)
        model = built(self._task, run.seed, self._original.source)
        self.model: nn.Module = self._task.unlearner(model, run.seed)
        start = {name: tensor.clone() for name, tensor in changing_state(self.model).items()}
        self._first = start if ends.first is None else load_tensors(ends.first / MODEL_FILE)[0]
        self._second, _ = load_tensors(ends.second / MODEL_FILE)
        between(self._first, self._second, 1.0)
        self._stale = moves_statistics(self._first, self._second)
        self._only_full = False

    def measure(self, at: float, metrics: frozenset[str]) -> Measures:
        """Return metrics of the model at a place, among them at least these, on all examples of each split."""
        self._move(at)
        if not self._only_full:
            cheap = self._evaluated(CHEAP)
            if not any(math.isnan(cheap.get(metric, math.nan)) for metric in metrics):
                return cheap
            self._only_full = True
        return self._evaluated(None)

    def write(self, at: float, folder: StoragePath, outcome: Outcome) -> Outcome:
        """Measure the model at a place in full and write it to a run folder; return the outcome with its metrics."""
        self._move(at)
        outcome = replace(outcome, measures=self._evaluated(None))
        found = {"original": self._original, **({"reference": self._reference} if self._reference else {})}
        bases = [Report(phase, 0, 0, self._compared(base.measures)) for phase, base in found.items()]
        end = Report("unlearning", outcome.steps, outcome.steps, outcome.measures)
        forgotten = self._resident.forgotten(self._task)
        provenance = provenance_of_run(self._run, self._task, self._original, self._reference, forgotten, 1)
        result = RunResult(
            run=self._run,
            outcome=outcome,
            bases=bases,
            history=History(reports=[end]),
            forgotten=forgotten,
            provenance=replace(provenance, interpolation=Interpolation(at, self._identities())),
        )
        state = changing_state(self.model)
        export = partial(self._task.export, self.model, self._original.folder)
        write_result(folder, result, state, export, self._task.loading(self.model))
        return outcome

    def _move(self, at: float) -> None:
        """Make the model the one at a place.

        Running statistics of BatchNorm that differ between the ends are estimated on the retain set, as after averaging
        weights (Izmailov et al., arXiv:1803.05407): the variance of activations is not linear in the weights.
        """
        put_state(self.model, between(self._first, self._second, at))
        if self._stale:
            with torch.random.fork_rng():
                torch.manual_seed(self._run.seed)
                update_bn(_batches(self._task, self._run), _Forward(self._task, self.model))

    def _evaluated(self, subset: int | None) -> Measures:
        return self._compared(self._task.evaluate(self.model, Alone(), subset=subset))

    def _compared(self, measures: Measures) -> Measures:
        known = self._reference.measures if self._reference else None
        return {**measures, **self._task.compare(measures, self._original.measures, known)}

    def _identities(self) -> list[ModelIdentity]:
        first, second = self._ends.first, self._ends.second
        return [
            identity_of_model(self._original) if first is None else _identity(first / MODEL_FILE),
            _identity(second / MODEL_FILE),
        ]


class _Forward(nn.Module):
    """A model as a function of the indices of training examples."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, examples: Tensor) -> Tensor:
        return self.task.forward(self.model, examples).logits


def _batches(task: Task, run: RunConfig) -> Iterator[Tensor]:
    """Yield the retain set in random batches of the run's size; a last one of a single example is left out."""
    retain = task.splits["retain"]
    generator = torch.Generator().manual_seed(run.training_seed * 1_000_003 + ORDER_STREAM)
    order = retain[torch.randperm(len(retain), generator=generator)]
    size = run.batch.micro or run.batch.retain
    return (batch for batch in order.split(size) if len(batch) > 1)


def _identity(path: StoragePath) -> ModelIdentity:
    return ModelIdentity(str(path), sha256_of_file(path))
