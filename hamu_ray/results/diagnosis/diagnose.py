"""The diagnosis of a sweep, and its repair."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import trials_of
from hamu_ray.results.diagnosis.problem import Problem, set_aside
from hamu_ray.results.diagnosis.sweep_files import driver_problems, started_with, store_problems
from hamu_ray.results.diagnosis.trial_files import has_ended, model_problems, trial_problems
from hamu_ray.results.folder import SWEEP_FILE, SWEEPS, TRIALS, trial_name
from hamu_ray.results.steering.clones import read_clones
from hamu_ray.storage import StoragePath, storage_path


@dataclass(frozen=True)
class Diagnosis:
    """The problems of a sweep's files, and how far the sweep is."""

    problems: Sequence[Problem]
    trials: int
    """The number of the sweep's trials; 0 if its configuration is lost."""
    unfinished: Sequence[str]
    """Trials that have not ended."""

    @property
    def reruns(self) -> list[str]:
        """Ended trials that `--resume` runs again after a repair."""
        return sorted({problem.reruns for problem in self.problems if problem.reruns})


def diagnose(folder: Path) -> Diagnosis:
    """Verify all files of a sweep, of its trials, and of the stored models. Each is read once."""
    config = _configuration(folder)
    storage = storage_path(config.storage.path) if config else folder.parent.parent
    results = storage / SWEEPS / folder.name
    files: list[StoragePath] = [*(folder / TRIALS).glob("*/*"), *(results / TRIALS).glob("*/*")]
    problems = [
        *driver_problems(folder),
        *store_problems(folder.parent.parent),
        *chain.from_iterable(
            trial_problems(folder, results, trial) for trial in sorted({path.parent.name for path in files})
        ),
        *model_problems(storage),
    ]
    count = trials_of(config) + len(read_clones(folder)) if config else 0
    names = [trial_name(number) for number in range(count)]
    return Diagnosis(problems, count, [name for name in names if not has_ended(folder, results, name)])


def repair(diagnosis: Diagnosis) -> list[StoragePath]:
    """Set damaged files aside, and write again what can be derived from others; return the files set aside.

    No driver may run the sweep meanwhile.
    """
    named = dict.fromkeys(path for problem in diagnosis.problems for path in problem.aside)
    aside = [path for path in named if path.exists()]
    for path in aside:
        set_aside(path)
    for problem in diagnosis.problems:
        if problem.mend is not None:
            problem.mend()
    return aside


def _configuration(folder: Path) -> SweepConfig | None:
    try:
        return load_sweep(folder / SWEEP_FILE)
    except ConfigError:
        return started_with(folder)
