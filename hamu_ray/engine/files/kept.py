"""The models that a run keeps of those at its evaluations, and what becomes of them at its end."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.run_folder import RunResult, write_result
from hamu_ray.engine.files.tensors import load_tensors, save_tensors
from hamu_ray.engine.state import changing_state, put_state
from hamu_ray.metrics import names
from hamu_ray.metrics.measured import Measures
from hamu_ray.metrics.names import STEPS_OUTSIDE_GUARANTEE
from hamu_ray.pairing.group import Group
from hamu_ray.results.folder import point_folder
from hamu_ray.results.outcome import Outcome, Report, Status, StepPoint
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.pareto.trajectory import MOST, Keeping, kept_steps
from hamu_ray.results.trial import AT
from hamu_ray.storage import StoragePath, remove_folder

logger = logging.getLogger(__name__)

FORGET_ACCURACY = names.accuracy_of("forget")

NO_POINTS = Keeping((names.FORGET_QUALITY, names.RETAIN_UTILITY), (True, True), 0)
"""Keeps no models as points of a front."""

SMALL = 64_000_000
"""Bytes of the weights that change up to which a model is small."""


class KeptSteps:
    """The weights of the evaluations of a run that none of its others dominates, or of all, in a folder of its own.

    Which ones are kept follows from the metrics of the evaluations in their order alone, so that a run that goes on
    from a checkpoint keeps the same. Every rank decides, rank 0 writes.
    """

    def __init__(
        self, folder: StoragePath, keeping: Keeping, group: Group, model: nn.Module, *, every: bool = False
    ) -> None:
        """Keep models in a folder, which is created with the first; with ``every``, those of all evaluations."""
        self.folder, self.keeping, self.group, self.every = folder, keeping, group, every
        size = sum(tensor.nbytes for tensor in changing_state(model).values())
        self.most = keeping.most if keeping.most is not None else MOST * (size <= SMALL)
        """How many models are kept at most, unless all are."""
        self.points: dict[int, Point] = {}
        self.forget_accuracies: dict[int, float] = {}
        """Of every kept step whose evaluation measured it."""

    def recall(self, reports: Iterable[Report]) -> None:
        """Begin with the evaluations that an earlier process reported until its checkpoint, and forget later ones."""
        self.points, self.forget_accuracies = {}, {}
        for report in reports:
            if report.measures:
                self._add(report.step, report.measures)
        self._remove_others()

    def offer(self, step: int, measures: Measures, model: nn.Module, outside: int | None = None) -> None:
        """Keep the model of an evaluation, if none of the others is better, and remove those that it dominates.

        ``outside`` is `Outcome.steps_outside_guarantee` of the steps until now.
        """
        if not measures or not (self.most or self.every):
            return
        self._add(step, measures)
        if step in self.points and self.group.rank == 0:
            about = {} if outside is None else {STEPS_OUTSIDE_GUARANTEE: str(outside)}
            save_tensors(self.file(step), changing_state(model), about)
        self._remove_others()

    def file(self, step: int) -> StoragePath:
        """Return the file with the weights of a step."""
        return self.folder / f"step-{step:09d}.safetensors"

    def weights(self, step: int) -> tuple[dict[str, Tensor], int | None] | None:
        """Return the weights of a step, and what `offer` was given as ``outside``.

        None if they are damaged, or gone: an earlier process may have gone further. Every rank must call it.
        """
        found = None
        if self.group.rank == 0:
            try:
                found = load_tensors(self.file(step))
            except ValueError as error:
                logger.warning("%s: this step is no point", error)
        if not self.group.agree(int(found is not None)):
            return None
        weights, about = found or load_tensors(self.file(step))
        outside = about.get(STEPS_OUTSIDE_GUARANTEE)
        return weights, None if outside is None else int(outside)

    def remove(self) -> None:
        """Remove all files."""
        remove_folder(self.folder)
        if not any(self.folder.parent.glob("*")):
            remove_folder(self.folder.parent)

    def _add(self, step: int, measures: Measures) -> None:
        points = {**self.points, step: self.keeping.point(measures)}
        steps = sorted(points) if self.every else kept_steps(points, self.keeping.maximise, self.most)
        self.points = {step: points[step] for step in steps}
        accuracies = {**self.forget_accuracies, step: measures.get(FORGET_ACCURACY, math.nan)}
        self.forget_accuracies = {step: accuracies[step] for step in steps}

    def _remove_others(self) -> None:
        if self.group.rank == 0:
            files = {self.file(step) for step in self.points}
            for path in self.folder.glob("step-*.safetensors"):
                if path not in files:
                    path.unlink(missing_ok=True)


def kept_of(
    run: RunConfig, folder: StoragePath, keeping: Keeping | None, group: Group, model: nn.Module
) -> KeptSteps | None:
    """Return the models to keep of a run's evaluations, in a folder of their own; None if it keeps none."""
    every = run.stop.rewind is not None
    keeping = keeping or (NO_POINTS if every else None)
    return KeptSteps(folder, keeping, group, model, every=every) if keeping else None


@dataclass(frozen=True)
class KeptModel:
    """A kept model with its metrics."""

    point: StepPoint
    weights: dict[str, Tensor]
    files: Mapping[str, bytes]
    """What other programs need besides the weights."""
    seconds: float
    """Wall time of its evaluation."""

    def export(self, _: Mapping[str, Tensor]) -> Mapping[str, bytes]:
        """Return the files besides the weights, which were made when it was evaluated."""
        return self.files


def measure_kept(
    kept: KeptSteps,
    model: nn.Module,
    end: Outcome,
    measure: Callable[[nn.Module], Measures],
    export: Callable[[dict[str, Tensor]], Mapping[str, bytes]],
) -> list[KeptModel]:
    """Evaluate the kept models of a run in full, if it has ended or waits; return the non-dominated ones.

    The last one of a run that has finished is its end, and none of them. Every rank must call it; ``model`` is what it
    was afterwards.
    """
    found: dict[int, KeptModel] = {}
    candidates = kept_steps(kept.points, kept.keeping.maximise, kept.most)
    has_end = end.status is Status.FINISHED
    steps = [step for step in candidates if step != end.steps or not has_end]
    steps = [] if end.status is Status.INTERRUPTED else steps
    last = {name: tensor.clone() for name, tensor in changing_state(model).items()} if steps else {}
    for step in steps:
        known = kept.weights(step)
        if known is None:
            continue
        weights, outside = known
        put_state(model, weights)
        began = time.perf_counter()
        is_measured = end.paused and step == end.steps  # in full, too
        point = StepPoint(step, end.measures if is_measured else measure(model), outside)
        found[step] = KeptModel(point, weights, export(weights), time.perf_counter() - began)
    if steps:
        put_state(model, last)
    points = {step: kept.keeping.point(each.point.measures) for step, each in found.items()}
    if has_end:
        points[end.steps] = kept.keeping.point(end.measures)
    best = kept_steps(points, kept.keeping.maximise, len(points))
    ends = [points[end.steps]] if has_end else []
    return [found[step] for step in best if step in found and points[step] not in ends]


def rewind_target(rule: str, last: Measures, reference: Measures) -> float:
    """Return the forget accuracy that a run is rewound to by `StopConfig.rewind`; NaN if it is not known."""
    if rule == "reference":
        return reference.get(FORGET_ACCURACY, math.nan)
    of_class = last.get(names.TEST_FORGOTTEN_CLASS_ACCURACY, math.nan)
    return last.get(names.accuracy_of("test"), math.nan) if math.isnan(of_class) else of_class


def rewound(
    kept: KeptSteps, model: nn.Module, end: Outcome, target: float, measure: Callable[[nn.Module], Measures]
) -> Outcome:
    """Return the outcome of a run that has finished, with the model whose forget accuracy is nearest to its target.

    The candidates are the kept models and the last one; of equally near ones it is the latest. It is put into
    ``model`` and evaluated in full. Every rank must call it.

    Source: Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023, arXiv 2302.09880: the rewinding of
    SCRUB+R, where the target is the last model's error on held-out data like the forget set.
    """
    accuracies = {**kept.forget_accuracies, end.steps: end.measures.get(FORGET_ACCURACY, math.nan)}
    distances = {step: abs(value - target) for step, value in accuracies.items()}
    measured = [step for step, distance in distances.items() if math.isfinite(distance)]
    step = min(measured, key=lambda step: (distances[step], -step), default=None)
    if end.status is not Status.FINISHED or step == end.steps:
        return end
    if step is None:
        return replace(end, reason=f"{end.reason}; not rewound: a forget accuracy or its target is not known")
    if (known := kept.weights(step)) is None:
        return replace(end, reason=f"{end.reason}; not rewound: the model of step {step} is gone")
    put_state(model, known[0])
    began = time.perf_counter()
    measures = measure(model)
    return replace(
        end,
        measures=measures,
        reason=f"{end.reason}; rewound to step {step}, whose forget accuracy is nearest to {target:.4g}",
        evaluation_seconds=end.evaluation_seconds + time.perf_counter() - began,
    )


def with_points(end: Outcome, models: Sequence[KeptModel]) -> Outcome:
    """Return the outcome of a run with the models on its way, and the time of their evaluation."""
    seconds = end.evaluation_seconds + math.fsum(model.seconds for model in models)
    return replace(end, points=tuple(model.point for model in models), evaluation_seconds=seconds)


def write_kept(folder: StoragePath, result: RunResult, models: Iterable[KeptModel], loading: str) -> None:
    """Write each kept model of a run to a run folder beside the run's; it is the result of a run that ends there."""
    for stale in folder.parent.glob(f"{folder.name}{AT}*"):
        remove_folder(stale)
    for model in models:
        step, end = model.point.step, result.outcome
        outcome = replace(
            end,
            status=Status.FINISHED,
            reason=f"stop.after_steps {step}",
            steps=step,
            measures=model.point.measures,
            seconds=end.seconds * step / end.steps,
            gradient_computations=end.gradient_computations * step // end.steps,
            steps_outside_guarantee=model.point.steps_outside_guarantee,
            points=(),
        )
        stop = result.run.stop.model_copy(update={"after_steps": step, "rewind": None})
        history = result.history.until(step)
        history.reports.append(Report("unlearning", step, step, model.point.measures))
        at_step = replace(
            result, run=result.run.model_copy(update={"stop": stop}), outcome=outcome, history=history
        )
        write_result(point_folder(folder, step), at_step, model.weights, model.export, loading)
