"""`sweep` and `Unlearner`: the ways into hamu_ray from Python. Both end where the commands do: in one configuration."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from hamu_ray.api.definition import Definition, Loss, OwnMetric
from hamu_ray.api.results import SweepOutput, UnlearnedModel
from hamu_ray.config.method import load_methods
from hamu_ray.config.sources.document import SPACE, assign
from hamu_ray.config.sources.files import check_run_document, check_sweep_document
from hamu_ray.config.sources.fixing import fix
from hamu_ray.config.space import METHOD_NAME, METHOD_PREFIX
from hamu_ray.methods import METHODS as KNOWN
from hamu_ray.methods import hyperparameters_of
from hamu_ray.preflight import check_run, check_sweep
from hamu_ray.results.outcome import Failure, Status
from hamu_ray.results.reader import read_sweep
from hamu_ray.storage import storage_path
from hamu_ray.tuning.run import run_sweep
from hamu_ray.workers.single import run_single

METHODS = ("hamu-q", "hamu-u", "gdiff", "npo")

SEED = 41

LEARNING_RATE = {"optimizer.learning_rate": {"loguniform": [3e-3, 0.3]}}
FRACTION = "constraint_fraction"
"""The hyperparameter that is searched beside the learning rate, for the methods that have it."""


def sweep(
    *,
    model: nn.Module | Callable[[], nn.Module],
    retain: Any,
    forget: Any,
    test: Any,
    methods: Sequence[str] = METHODS,
    trials: int = 40,
    original: nn.Module | None = None,
    loss: Loss | None = None,
    metrics: Iterable[OwnMetric] = (),
    utility: str | None = None,
    collate: Callable[[list], Any] | None = None,
    space: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str = "sweep",
    seed: int = SEED,
    storage: str | Path = "runs",
    resume: bool = False,
) -> SweepOutput:
    """Find how far a model can forget some of its training examples, and at what cost: a sweep, as by the command.

    Trains the original model on ``retain`` and ``forget`` unless it is given, and the reference on ``retain`` alone;
    both are found again by the next call. Objects travel to workers as pickles, which are kept in the storage.

    Args:
        model: builds the model: a function or a class without arguments, or a module, whose weights are then what the
            original and the reference start from. They must never have met the examples to forget.
        retain: map-style dataset of the training examples to keep; an example is a pair of inputs and target. Inputs
            are a tensor, or a mapping or sequence of the model's arguments.
        forget: map-style dataset of the training examples to forget.
        test: map-style dataset of the test examples.
        methods: names of the unlearning methods to compare.
        trials: number of trials, a multiple of the number of methods.
        original: the trained model, with the layers of ``model``.
        loss: outputs ``(n, ...)`` and targets ``(n, ...)`` to a loss per example ``(n,)``; None: the cross-entropy.
        metrics: functions of the outputs and targets of a whole split to a number. Each is reported under its name,
            such as ``test_rmse``.
        utility: name of the metric that is the sweep's ``retain_utility`` on the test examples, higher being better;
            None: the accuracy of a classifier, otherwise the first of ``metrics``.
        collate: a list of examples to a pair of inputs and targets; None: PyTorch's ``default_collate``.
        space: key paths to domains, as the ``space`` of a YAML file; None varies the learning rate and HAMU's
            constraint.
        settings: key paths to values, of any key that a YAML file has: ``{"duration.steps": 100}``.
        name: names the sweep in storage and tracking.
        seed: decides everything random.
        storage: folder, or URL, of models and results.
        resume: go on with the newest sweep of this name.

    Raises:
        ValueError: Something cannot be used: in one line that says what, before anything expensive starts.
        RuntimeError: The sweep was interrupted; with ``resume`` it goes on.
    """
    definition = Definition(model, retain, forget, test, original, loss, tuple(metrics), utility, collate)
    varied = dict(space) if space is not None else _space(methods)
    search = {"samples": _samples(trials, methods)}
    document = {
        **_document(definition, name, seed, storage, loss),
        SPACE: {METHOD_NAME: {"grid": list(methods)}, **varied},
        "search": search,
    }
    for key, value in (settings or {}).items():
        assign(document, key, value)
        fix(document, key, value)
    config = check_sweep_document(document, "sweep")
    definition.check_methods(config.methods)
    check_sweep(config, "sweep")
    end = run_sweep(config, "" if resume else None)
    if end.status is Status.INTERRUPTED:
        raise RuntimeError(f"the sweep was interrupted; go on with resume=True ({end.folder})")
    return SweepOutput(read_sweep(end.folder), end.folder, end.report)


class Unlearner:
    """A model and the examples that it is to forget: single runs, as `python -m hamu_ray.unlearn` does them."""

    def __init__(
        self,
        *,
        model: nn.Module | Callable[[], nn.Module],
        retain: Any,
        forget: Any,
        test: Any,
        original: nn.Module | None = None,
        loss: Loss | None = None,
        metrics: Iterable[OwnMetric] = (),
        utility: str | None = None,
        collate: Callable[[list], Any] | None = None,
        seed: int = SEED,
        storage: str | Path = "runs",
    ) -> None:
        """Check the objects and write them into the storage; see `sweep` for the arguments.

        Raises:
            ValueError: Something cannot be used: in one line that says what.
        """
        self._definition = Definition(
            model, retain, forget, test, original, loss, tuple(metrics), utility, collate
        )
        self._document = _document(self._definition, "run", seed, storage, loss)

    def run(
        self, method: str = "hamu-q", settings: Mapping[str, Any] | None = None, name: str | None = None
    ) -> UnlearnedModel:
        """Unlearn once. The original model and the reference are trained by the first run, and then found again.

        Args:
            method: name of the unlearning method.
            settings: key paths to values, of any key that a YAML file has: ``{"optimizer.learning_rate": 0.1}``.
            name: names the run, which goes on from its last checkpoint if it was interrupted; None: the method's.

        Raises:
            ValueError: Something cannot be used: in one line that says what.
            RuntimeError: The run failed or was interrupted.
        """
        document = {
            **self._document,
            "name": name or method,
            "method": {"name": method},
        }
        document = {key: dict(value) if isinstance(value, dict) else value for key, value in document.items()}
        for key, value in (settings or {}).items():
            assign(document, key, value)
        run = check_run_document(document, "Unlearner")
        self._definition.check_methods([run.method.name])
        check_run(run, "Unlearner")
        single = run_single(run, force=True)  # the folder is this configuration's, so the result is the same
        if isinstance(single.end, Failure) or single.end.status is Status.INTERRUPTED:
            raise RuntimeError(f"the run did not finish: {single.end.reason}")
        end = single.end
        return UnlearnedModel(
            run.method.name, dict(settings or {}), end.measures, single.folder, str(end.status), end.reason
        )


def _document(
    definition: Definition, name: str, seed: int, storage: str | Path, loss: Loss | None
) -> dict[str, Any]:
    """Write the task and return the configuration that all runs on it share."""
    return {
        "name": name,
        "seed": seed,
        **definition.write(storage_path(storage), seed),
        "storage": {"path": str(storage)},
        "stop": {} if loss is None else {"collapse_ratio": None},  # a perplexity is of cross-entropies
    }


def _samples(trials: int, methods: Sequence[str]) -> int:
    """Return the number of trials of each method. Raises `ValueError` if they have unequal numbers."""
    count = len(methods)
    if count == 0 or trials % count or trials < 1:
        raise ValueError(
            f"trials: must be a multiple of the number of methods ({count}), found {trials}; take "
            f"{max(1, trials // max(1, count)) * count}"
        )
    return trials // count


def _space(methods: Sequence[str]) -> dict[str, Any]:
    """Return the space that is searched where none is given; unknown methods are refused with the document."""
    load_methods({SPACE: {METHOD_NAME: list(methods)}})
    records = {name: hyperparameters_of(name) for name in methods if name in KNOWN}
    domains = [
        {kind: list(values), "when": {METHOD_NAME: name}}
        for name, record in records.items()
        if FRACTION in record
        for kind, values in record[FRACTION].search.items()
    ]
    return {**LEARNING_RATE, **({f"{METHOD_PREFIX}{FRACTION}": domains} if domains else {})}
