"""Inspect a model, data and this machine, and write the search space that fits them."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from hamu_ray.config.sources.document import ConfigError, first_line, with_absolute_paths
from hamu_ray.config.sources.files import check_sweep_document
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.footprint.machine import Machine, this_machine
from hamu_ray.inspection.cost import costs
from hamu_ray.inspection.dataset import Data
from hamu_ray.inspection.model import Model
from hamu_ray.inspection.proposal import differing_tasks, propose
from hamu_ray.inspection.request import Request, request_of
from hamu_ray.preflight import check_sweep
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.storage import local_folder
from hamu_ray.tasks import forecast_data
from hamu_ray.tasks.forecast import Forecast

NAME = "own"
"""Name of the sweep, if the data's has no letters that a name may have."""


class Inspection:
    """What `hamu_ray.doctor MODEL DATA` finds out, as it is known."""

    def __init__(self, model: str, data: str | None, base: str | None = None) -> None:
        """Look at nothing yet; ``base`` are weights that were not trained on the data to forget."""
        self.model = Model(model)
        self.data = Data(data) if data else None
        self.base = base
        self.machine: Machine = this_machine()
        self.text: str | None = None
        """The search space as YAML, once it is known."""

    def findings(self, forget: str | None = None, ids: str | None = None) -> Iterator[Finding]:
        """Yield a finding for each part of machine, model and data, and of the search space for them.

        Raises:
            ConfigError: The request for the forget set cannot be read.
        """
        yield from self.machine.findings()
        try:
            yield from self.model.findings()
            if self.data is None:
                return
            yield from self.data.findings()
            if differ := list(differing_tasks(self.model, self.data)):
                yield from differ
                return
            yield from self._proposed(self.data, request_of(self.data, forget, ids))
        except ConfigError:
            raise
        except ValueError as error:
            yield Finding("input", first_line(error), True)

    def _proposed(self, data: Data, request: Request) -> Iterator[Finding]:
        proposal = propose(name_of(data), self.model, data, self.machine, request, self.base)
        yield from proposal.findings
        if self.base is not None and self.model.embedded:
            text = f"{self.base} is not used: {self.model.name} is trained from random weights; omit --base"
            yield Finding("base", text, True)
        with_absolute_paths(proposal.sections)
        title = f"{self.model.name} forgets a part of {data.path}; written by `doctor`, change what you like"
        self.text, origin = proposal.text(title), "the search space"
        try:
            config = check_sweep_document(yaml.safe_load(self.text), origin)
            check_sweep(config, origin)
            forecast = forecast_of(config)
        except ConfigError as error:
            yield Finding("space", f"does not run yet: {first_line(error).removeprefix(f'{origin}: ')}", True)
            return
        for line in forecast.lines():
            yield Finding("", line)
        dropped = sum(side.dropped_tokens for side in forecast.splits.values())
        if dropped:
            text = f"{dropped} tokens are beyond the {config.data.longest} of data.max_length and not used"  # type: ignore[union-attr]
            yield Finding("lengths", f"{text}; set data.windows, or raise it up to the model's context", True)
        yield from costs(config, self.model, self.machine, forecast)


def forecast_of(config: SweepConfig) -> Forecast:
    """Return what the runs of a search space forget, retain and test.

    Raises:
        ConfigError: One line with the key and the remedy.
    """
    cache = local_folder(config.storage) / "data"
    try:
        return forecast_data(config.data, config.forget, config.training_seed, config.model, cache)
    except ValueError as error:
        raise ConfigError(first_line(error)) from error


def name_of(data: Data) -> str:
    """Return a name for the sweep: that of the data's folder, as far as a name may have its letters."""
    stem = Path(data.path).expanduser().name or Path(data.path).absolute().name
    return (
        "".join(letter for letter in stem if letter.isascii() and (letter.isalnum() or letter in "_-"))
        or NAME
    )


def write_space(path: str, text: str) -> None:
    """Write the search space to a new file.

    Raises:
        ConfigError: It exists, or cannot be written.
    """
    try:
        with Path(path).open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"--output {path}: the file exists; give another name") from None
    except OSError as error:
        raise ConfigError(f"--output {path}: {error.strerror}; give another name") from error
