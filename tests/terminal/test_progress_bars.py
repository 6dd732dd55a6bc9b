"""The lines that announce the training of base models."""

import io

from hamu_ray.results.outcome import Report
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.progress import Phases, make_bars


def test_runs_that_train_the_same_model_at_once_announce_it_once() -> None:
    output = io.StringIO()
    console = Console(file=output, width=80)
    phases = Phases(console, make_bars(console))
    for step in (0, 5, 10):
        for trial in ("0000", "0001"):
            phases.show(trial, "ga", Report("original", step, 10))
    phases.show("0001", "ga", Report("unlearning", 1, 40))
    phases.show("0000", "ga", Report("reference", 0, 10))
    phases.show("0002", "ga", Report("original", 0, 10))
    lines = [line.strip() for line in output.getvalue().splitlines()]
    assert lines == [
        "training the original model (10 steps)",
        "training the reference model (10 steps)",
        "training the original model (10 steps)",
    ], "a later training is another one"
