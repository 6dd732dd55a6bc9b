"""The view of a sweep from another shell: it follows the sweep to its end, and loads little."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.folder import SWEEP_FILE
from hamu_ray.results.live import LiveSweep
from hamu_ray.results.trial import Status
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.watch_view import WatchView
from hamu_ray.tracking.outbox import Outbox
from tests.made_store import BEGAN, STEPS, log_trial, made_record, points, sweep_config

CONFIG = sweep_config()
NAME = "made-20260101-120000"


class Sweep:
    """A sweep whose driver works whenever the view pauses."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / SWEEP_FILE).write_text(yaml.safe_dump(CONFIG.whole))
        self.folder, self.outbox = folder, Outbox(folder)
        self.outbox.start_sweep(NAME, CONFIG.whole, {"began": BEGAN})
        self.turns = iter(range(3, 6))

    def end_trial(self, number: int) -> None:
        trial = made_record(number, CONFIG, points(CONFIG)[number], self.folder)
        log_trial(self.outbox, NAME, trial, self.folder, hardness=False)

    def start_trial(self, number: int) -> None:
        run = CONFIG.resolve(points(CONFIG)[number]).model_dump(mode="json")
        self.outbox.start_trial(f"{number:04d}", NAME, "", run, {"status": "running"})
        self.outbox.set_tags(f"{number:04d}", {"total_steps": STEPS})
        self.outbox.log_history(f"{number:04d}", {"gradient_cosine": [0.0, 0.1]}, [1, 2])

    def work(self, seconds: float) -> None:
        if (turn := next(self.turns, None)) is not None:
            self.end_trial(turn)
        else:
            self.outbox.finish(NAME, Status.FINISHED)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    sweep = Sweep(tmp_path / NAME)
    for number in range(3):
        sweep.end_trial(number)
    sweep.start_trial(3)
    return sweep


def view_of(sweep: Sweep, watched: bool = False) -> tuple[WatchView, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, width=100)
    console._force_terminal = watched
    return WatchView(console, LiveSweep(sweep.folder)), output


def test_once(sweep: Sweep) -> None:
    with Lease(sweep.folder):
        view, output = view_of(sweep)
        view.print()
    lines = output.getvalue().splitlines()
    assert lines[:2] == [f"watching     {NAME}", "sweep        3/36 trials, 1 running"]
    assert lines[2].startswith("time ")
    assert " left, " in lines[2]
    assert [line.split()[:3] for line in lines[3:5]] == [
        ["best", "forget", "quality"],
        ["best", "retain", "utility"],
    ]
    curve = lines[5].split()
    assert curve[0] == "hypervolume"
    assert len(curve[2]) == 3, "a value for each trial"
    assert lines[6].startswith("running      0003 hamu-q lr 0.003 ")
    assert lines[6].endswith(f": step 2 of {STEPS}")
    assert "Front: " in "".join(lines[7:])


@pytest.mark.parametrize("watched", [False, True])
def test_it_follows_the_sweep_to_its_end(sweep: Sweep, watched: bool) -> None:
    with Lease(sweep.folder):
        view, output = view_of(sweep, watched)
        view.follow(sweep.work)
    text = output.getvalue()
    assert text.count("sweep        6/36 trials, finished") == 1
    assert text.count("4/36  ") == text.count("6/36  ") == 1, "a row for each trial that ended meanwhile"
    assert text.count("3/36  ") == 0
    assert ("\x1b" in text) is watched


def test_reasons_are_counted(sweep: Sweep) -> None:
    collapsing = [number for number, point in enumerate(points(CONFIG)) if point["method.name"] == "ga"]
    for number in collapsing:
        sweep.end_trial(number)
    view, output = view_of(sweep)
    view.print()
    assert "trials collapsed: retain perplexity more than 10 times the original's" in output.getvalue()
    assert "interrupted; its command with --resume goes on" in output.getvalue()


def test_the_command(sweep: Sweep) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hamu_ray.watch", *arguments]
        return subprocess.run(command, cwd=sweep.folder.parent, capture_output=True, text=True, check=False)

    before = {path: path.stat().st_mtime_ns for path in sweep.folder.rglob("*")}
    shown = run(NAME, "--once")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"watching     {NAME}\nsweep        3/36 trials, interrupted")
    assert {path: path.stat().st_mtime_ns for path in sweep.folder.rglob("*")} == before
    wrong = run("trials")
    assert wrong.stderr == "error: trials: not a sweep's folder: it has no sweep.yaml\n"
    assert (wrong.returncode, wrong.stdout) == (2, "")
    none = run()
    assert none.stderr == "error: no sweep in runs/sweeps; give the folder of a sweep\n"
