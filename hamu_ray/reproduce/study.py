"""Running a published study again, or a part of it, and stating how far its numbers are from the published ones."""

import hashlib
import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.sources.packages import check_methods, check_packages
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.reproduce.columns import CONFIRM
from hamu_ray.reproduce.distance import Difference, differences, identical
from hamu_ray.reproduce.published import Published, published
from hamu_ray.reproduce.run import Study
from hamu_ray.results.wording import shown
from hamu_ray.storage import RAY_JOB, check_outlives_job, local_folder
from hamu_ray.terminal.console import Console

HEADER = ("method", "number", "published", "interval", "again", "distance")


@dataclass(frozen=True)
class Part:
    """The part of a study to run again; None stands for all of it."""

    requests: Collection[str] | None = None
    methods: Collection[str] | None = None
    seeds: Collection[int] | None = None
    """Of the searches, and of the searches whose best trials are run with new seeds."""

    def check(self, study: Published) -> None:
        """Raise `ConfigError` if the study does not have one of these."""
        for option, given, known in (
            ("requests", self.requests, study.requests),
            ("methods", self.methods, study.methods),
            ("seeds", self.seeds, sorted({seed for name in study.requests for seed in study.seeds(name)})),
        ):
            for name in given or ():
                if name not in known:
                    raise ConfigError(
                        f"--{option} {name}: not in {study.path}; {nearest(name, map(str, known))}"
                    )

    def has(self, request: str, method: str, seed: int) -> bool:
        """Whether it includes the runs of a method on a request, by the seed of the search."""
        of = ((request, self.requests), (method, self.methods), (seed, self.seeds))
        return all(chosen is None or name in chosen for name, chosen in of)


def reproduce(
    given: str, part: Part, table: Path | None, *, changes: Sequence[str], minutes: float, as_json: bool
) -> int:
    """Run a study again, into a table that an interrupted call continues, and print the differences.

    Returns 0, and 1 if the time was over before all was run.
    """
    study = published(given)
    part.check(study)
    seeds = sorted({seed for name in study.requests for seed in study.seeds(name)})
    if not seeds:
        raise ConfigError(
            f"{study.path.with_suffix('.csv')}: no run of a search, with which others could be compared"
        )
    configs = {seed: study.configs(seed, changes) for seed in seeds}
    for name in study.requests:
        if name not in configs[seeds[0]]:
            known = ", ".join(configs[seeds[0]])
            raise ConfigError(
                f"{study.path}: the table has runs of {name}, and spaces only of {known}; add its search space"
            )
    _check_packages(study, part, configs[seeds[0]])
    storage = configs[seeds[0]][study.requests[0]].storage
    try:
        check_outlives_job(storage)
    except ValueError as error:
        raise ConfigError(f"{study.path}: {error}") from error
    if table and RAY_JOB in os.environ and not table.is_absolute():
        raise ConfigError(
            f"--table {table}: would be in the job's own folder, which Ray deletes; give an absolute path"
        )
    table = table or default_table(local_folder(storage), study.name, changes)
    running = Study(table, minutes, storage.path)
    is_whole = _run(study, part, configs, running)
    found = differences(study.rows, running.rows.all, configs[seeds[0]])
    same, runs = identical(study.rows, running.rows.all)
    if as_json:
        document = {
            "study": str(study.path),
            "table": str(table),
            "complete": is_whole,
            "runs": runs,
            "identical_runs": same,
            "numbers": [one.document for one in found],
        }
        print(json.dumps(document))
    else:
        _print(Console(), found, same, runs)
        if not is_whole:
            Console().text(f"not all was run: the same command goes on with {shown(table)}")
    return 0 if is_whole else 1


def _check_packages(study: Published, part: Part, configs: Mapping[str, SweepConfig]) -> None:
    """Check that the optional packages of a part are installed, before anything runs; raises `ConfigError`."""
    methods = study.methods if part.methods is None else part.methods
    try:
        for request, config in configs.items():
            if part.requests is None or request in part.requests:
                check_packages(config)
        check_methods(method.partition("+")[0] for method in methods)
    except ValueError as error:
        raise ConfigError(f"{study.path}: {error}") from error


def default_table(local: Path, name: str, changes: Sequence[str]) -> Path:
    """Return where the rows of a study are written, below a local folder; changed spaces have rows of their own."""
    digest = hashlib.blake2b(json.dumps(sorted(changes)).encode(), digest_size=4).hexdigest()
    return local / "study" / (f"{name}-{digest}.csv" if changes else f"{name}.csv")


def _run(
    study: Published, part: Part, configs: Mapping[int, Mapping[str, SweepConfig]], running: Study
) -> bool:
    """Run the searches, then their best trials with new seeds; return whether all was run."""
    for seed, by_request in configs.items():
        for request, config in by_request.items():
            methods = [name for name in study.methods_of(request, seed) if part.has(request, name, seed)]
            if methods and not running.search(config, methods):
                return False
    for row in study.rows:
        seed = int(row["search_seed"] or -1)
        if row["purpose"] == CONFIRM and part.has(row["space"], row["method"], seed):
            config = configs[seed][row["space"]]
            if running.confirm(config, row, int(row["seed"]), int(row["training_seed"])) is None:
                return False
    return True


def _print(console: Console, found: Sequence[Difference], same: int, runs: int) -> None:
    """Print a line for each number, by request, and what they come to."""
    for request in dict.fromkeys(one.request for one in found):
        console.text(request, "bold")
        console.columns(HEADER, [_line(one) for one in found if one.request == request])
    console.text(f"{same} of {runs} runs have the published numbers in all written digits")
    known = [one for one in found if not math.isnan(one.distance)]
    if known:
        within = sum(abs(one.distance) <= 1 for one in known)
        farthest = max(known, key=lambda one: abs(one.distance))
        console.text(
            f"{within} of {len(known)} numbers are within their interval; the farthest, {farthest.number} of "
            f"{farthest.method} on {farthest.request}, is {abs(farthest.distance):.2g} half-lengths away"
        )


def _line(one: Difference) -> list[str]:
    low, high = one.interval.low, one.interval.high
    return [
        *(one.method, one.number, f"{one.published:.3f}"),
        f"{low:.3f} to {high:.3f}" if math.isfinite(low) else "-",
        f"{one.again:.3f}",
        "-" if math.isnan(one.distance) else f"{one.distance:+.2f}",
    ]
