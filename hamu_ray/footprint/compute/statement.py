"""What runs compute, and how long that takes at least on GPUs, as lines of a dry run."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import add

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import first_line
from hamu_ray.config.space import METHOD_NAME
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import samples_of
from hamu_ray.footprint.cases import Case, cases_of
from hamu_ray.footprint.compute.amounts import Trial, training_of, trial_of
from hamu_ray.footprint.compute.costs import NOTHING, Work
from hamu_ray.footprint.compute.gpus import GPUS, USUAL, seconds_on
from hamu_ray.footprint.trace import Tracers
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.results.wording import counted, duration

DECIDES_TRIALS = (
    METHOD_NAME,
    "method.forget_objective",
    "method.trust_region",
    "model.",
    "batch.",
    "duration.",
    "stop.after_steps",
    "evaluation.",
)
"""Prefixes of the keys that the work of a trial depends on, besides those of its data."""

DECIDES_BASE_MODELS = ("seed", "data.", "forget.", "model.", "training.", "original.", "reference.")
"""Prefixes of the keys that base models depend on."""

MOST_VARIANTS = 256
"""Maximum number of a sweep's combinations whose work is computed."""

SCALES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


@dataclass(frozen=True)
class Amount:
    """What trials compute, and the base models before them."""

    kinds: Sequence[Trial]
    """Trials that differ in their work."""
    trials: int
    work: Work
    """Of all trials."""
    training: Work
    """Of an original and its references, on average."""
    pairs: int
    """Number of these."""
    unit: str
    """What examples are, such as ``images``."""

    @property
    def total(self) -> Work:
        """The work of everything."""
        return self.work + self.training * self.pairs


def state_run(case: Case, device: str | None, tracers: Tracers) -> Iterator[Finding]:
    """Yield lines on the work and the shortest time of one run; for the arguments see `state_sweep`."""
    try:
        found = _trial(case, tracers)
        amount = Amount([found], 1, found.work, _training(case, tracers), 1, _unit(case))
    except Exception as error:  # the code of models may raise anything on fake tensors
        yield Finding("compute", f"not known: {first_line(error)}")
        return
    yield from _lines(amount, gpus_of(case[0], device))


def state_sweep(
    config: SweepConfig, known: Iterable[Case], device: str | None, tracers: Tracers
) -> Iterator[Finding]:
    """Yield lines on the work and the shortest time of a sweep whose trials all take all of their steps.

    ``known`` are runs with each of the sweep's forget sets; ``device`` is the GPU given on the command line, if one is.
    """
    try:
        amount = amount_of(config, list(known), tracers)
    except Exception as error:  # the code of models may raise anything on fake tensors
        yield Finding("compute", f"not known: {first_line(error)}")
        return
    yield from _lines(amount, gpus_of(config, device))


def amount_of(config: SweepConfig, known: Sequence[Case], tracers: Tracers) -> Amount:
    """Return the work of a sweep: of each method's trials, the mean of what its keys may be.

    Raises:
        ValueError: The model or the size of the data is not known.
    """
    cells = list(config.cells())
    trials: Counter[object] = Counter()
    for cell, samples in zip(cells, samples_of(config, cells), strict=True):
        trials[cell.get(METHOD_NAME)] += samples * config.search.repeats
    cases = list(cases_of(config, known, DECIDES_TRIALS, MOST_VARIANTS))
    kinds = [(run.method.name, _trial((run, forecast), tracers)) for run, forecast in cases]
    work = NOTHING
    for method, number in trials.items():
        of_method = [trial.work for name, trial in kinds if method in (None, name)]
        work += _mean(of_method or [trial.work for _, trial in kinds]) * number
    bases = list(cases_of(config, known, DECIDES_BASE_MODELS, MOST_VARIANTS))
    return Amount(
        kinds=[trial for _, trial in kinds],
        trials=sum(trials.values()),
        work=work,
        training=_mean([_training(case, tracers) for case in bases]),
        pairs=len(set(islice(_base_models(config), MOST_VARIANTS))),
        unit=_unit(cases[0]),
    )


def gpus_of(run: RunConfig, device: str | None) -> Sequence[str]:
    """Return the GPUs whose times are stated: the given one, that of the workers, or the usual ones."""
    return next(([name] for name in (device, run.workers.accelerator) if name in GPUS), USUAL)


def scaled(value: float, unit: str) -> str:
    """Return a number of operations or bytes as text."""
    scale, prefix = next((each for each in SCALES if value >= each[0]), (1.0, ""))
    return f"{value / scale:.3g} {prefix}{unit}"


def _base_models(config: SweepConfig) -> Iterator[str]:
    for run in config.variants(DECIDES_BASE_MODELS):
        sections = {"data", "forget", "model", "training", "original", "reference"}
        yield f"{run.training_seed} {run.model_dump_json(include=sections)}"


def _trial(case: Case, tracers: Tracers) -> Trial:
    run, forecast = case
    if forecast is None:
        raise ValueError("the size of the forget set is known once the data are loaded")
    return trial_of(run, tracers.of(run, forecast), forecast)


def _training(case: Case, tracers: Tracers) -> Work:
    run, forecast = case
    assert forecast is not None, "it is that of a trial"
    return training_of(run, tracers.of(run, forecast), forecast)


def _unit(case: Case) -> str:
    assert case[1] is not None, "it is that of a trial"
    return case[1].unit


def _mean(works: Sequence[Work]) -> Work:
    return reduce(add, works) * (1 / len(works))


def _lines(found: Amount, gpus: Sequence[str]) -> Iterator[Finding]:
    flops = [trial.work.flops for trial in found.kinds]
    most = max(found.kinds, key=lambda trial: trial.work.flops)
    mean = found.work.flops / found.trials
    between = f", the largest {scaled(max(flops), 'FLOP')}" if max(flops) > 1.005 * mean else ""
    steps = f"{counted(most.steps, 'step')} with the gradients of {most.examples:,.0f} {found.unit} each"
    steps = steps if most.steps else "an edit"
    each = "for the run" if found.trials == 1 else "per trial"
    average = f"{scaled(mean, 'FLOP')} {'on average ' if between else ''}{each}"
    yield Finding("compute", f"{average}{between}:")
    yield Finding("", f"{steps}, and {counted(most.evaluations, 'evaluation')}")
    moved = scaled(found.work.bytes / found.trials, "B")
    yield Finding("", f"{moved} read and written by its operators, one after the other")
    if found.training.flops:
        pairs = f", {found.pairs} times" if found.pairs > 1 else ""
        yield Finding(
            "", f"{scaled(found.training.flops, 'FLOP')} to train base models{pairs}, unless they are stored"
        )
    if found.trials == 1:
        condition = "if the run takes all of its steps" if most.steps else "the run"
    else:
        condition = f"if all {found.trials:,} trials take all of their steps"
    bases = " with base models" if found.training.flops else ""
    yield Finding("time", f"{condition}, at least,{bases} on one GPU:")
    yield Finding("", ", ".join(f"{name} {duration(seconds_on(GPUS[name], found.total))}" for name in gpus))
    yield Finding(
        "", "computed from data sheets, not measured, without metrics and exchange: docs/performance.md"
    )
