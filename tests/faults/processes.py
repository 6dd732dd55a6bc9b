"""Faults of a running sweep: what happens, and what the command then prints and returns."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from hamu_ray.results.folder import read_records
from hamu_ray.tracking.client import MlflowTracker
from tests.faults.running import LENGTH, SEARCH, Running, assert_nothing_lost, new_space
from tests.faults.table import PROCESSES
from tests.mlflow_server import serving
from tests.sweep_processes import start, wait_until, write_space

FAULTS: dict[str, Callable[[Path, Path], None]] = {}
"""Functions of a folder and of the undisturbed sweep's space, by the names of the table."""


def fault(name: str) -> Callable[[Callable[[Path, Path], None]], Callable[[Path, Path], None]]:
    """Register a function for a row of the table."""
    assert name in PROCESSES

    def register(function: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        FAULTS[name] = function
        return function

    return register


def started(folder: Path, undisturbed: Path, **sections: object) -> Running:
    """Start the same sweep in a folder, and wait until its second trial is under way."""
    space = new_space(folder, undisturbed, **sections)
    sweep = Running(space, start(space))
    sweep.wait_for_trial("0001")
    return sweep


VICTIMS = (
    ("worker", "RayTrainWorker", "0000"),
    ("controller", "TrainController", "0001"),
    ("slot", "Slot", "0002"),
    ("trial", "ImplicitFunc", "0003"),
    ("pool", "Pool", "0003"),
)
"""Names in the table, processes, and the trials during which they are killed."""


def nobody_sees(folder: Path, undisturbed: Path) -> None:
    space = new_space(folder, undisturbed)
    sweep = Running(space, start(space))
    for _, process, trial in VICTIMS:
        sweep.wait_for_trial(trial)
        sweep.kill(process)
    sweep.ends(0)
    assert_nothing_lost(sweep, undisturbed)


for name, _, _ in VICTIMS:
    fault(name)(nobody_sees)


@fault("stopped worker")
def stopped_worker(folder: Path, undisturbed: Path) -> None:
    sweep = started(folder, undisturbed)
    stopped = sweep.kill("RayTrainWorker", signal.SIGSTOP)
    time.sleep(60)
    stopped.send_signal(signal.SIGCONT)
    sweep.ends(0)
    assert_nothing_lost(sweep, undisturbed)


@fault("driver")
def driver(folder: Path, undisturbed: Path) -> None:
    sweep = started(folder, undisturbed)
    sweep.driver.kill()
    sweep.ends(-signal.SIGKILL)
    sweep.resumes()
    assert_nothing_lost(sweep, undisturbed)


@fault("head")
def head(folder: Path, undisturbed: Path) -> None:
    """The machine of the driver and of its cluster disappears; another one has nothing but the storage."""
    storage = folder / "storage"
    shutil.copytree(undisturbed.parent / "runs" / "models", storage / "models")
    first, second = (
        write_space(folder / name, str(storage), SEARCH, **LENGTH) for name in ("first", "second")
    )
    sweep = Running(first, start(first, "--resume", "auto"), storage)
    sweep.wait_for_trial("0001")
    wait_until(lambda: list(storage.glob("sweeps/*/trials/0000/record.json")), sweep.driver, first)
    machine = psutil.Process(sweep.driver.pid)
    for process in (machine, *machine.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    sweep.ends(-signal.SIGKILL)
    assert "0001" not in {record.trial_id for record in read_records(sweep.folder)}
    shutil.rmtree(first.parent)
    sweep = Running(second, start(second, "--resume", "auto"), storage)
    sweep.ends(0, "resumed: 1 trials have already ended")
    assert_nothing_lost(sweep, undisturbed, f"sqlite:///{second.parent}/runs/mlflow.db")
    again = Running(second, start(second, "--resume"), storage)
    again.ends(2, "has trials left to run")


def ends_the_sweep(process: str) -> Callable[[Path, Path], None]:
    """A fault that ends the command with one line."""

    def cause(folder: Path, undisturbed: Path) -> None:
        sweep = started(folder, undisturbed)
        sweep.kill(process)
        sweep.ends(1, "error: Ray has stopped: ", "--resume goes on")
        sweep.resumes()
        assert_nothing_lost(sweep, undisturbed)

    return cause


fault("raylet")(ends_the_sweep("raylet"))
fault("control store")(ends_the_sweep("gcs_server"))


def interrupted(times: int, number: signal.Signals) -> Callable[[Path, Path], None]:
    def cause(folder: Path, undisturbed: Path) -> None:
        sweep = started(folder, undisturbed)
        for _ in range(times):
            with contextlib.suppress(ProcessLookupError):
                sweep.driver.send_signal(number)
            time.sleep(0.5)
        sweep.ends(130, "interrupted; ", "--resume")
        sweep.resumes()
        assert_nothing_lost(sweep, undisturbed)

    return cause


fault("interrupt")(interrupted(1, signal.SIGTERM))
fault("two interrupts")(interrupted(2, signal.SIGINT))


@fault("storage deleted")
def storage_deleted(folder: Path, undisturbed: Path) -> None:
    sweep = started(folder, undisturbed)
    shutil.rmtree(sweep.storage, ignore_errors=True)
    sweep.ends(1, "error: ")


@contextmanager
def mounted(folder: Path, size: str = "256m") -> Iterator[Path]:
    """A file system in a folder."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@fault("storage read-only")
def storage_read_only(folder: Path, undisturbed: Path) -> None:
    with mounted(folder / "disk") as disk:
        sweep = started(disk, undisturbed)
        # A busy file system cannot be remounted read-only, but it can be mounted so a second time on top.
        subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
        try:
            sweep.driver.wait(timeout=900)
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)
        sweep.ends(1, "error: ", "Read-only file system")
        sweep.resumes()
        assert_nothing_lost(sweep, undisturbed)


@fault("storage full")
def storage_full(folder: Path, undisturbed: Path) -> None:
    with mounted(folder / "disk") as disk:
        sweep = started(disk, undisturbed)
        fill(disk / "filler")
        sweep.ends(1, "No space left on device", "--resume goes on")
        (disk / "filler").unlink()
        sweep.resumes()
        assert_nothing_lost(sweep, undisturbed)


def fill(path: Path) -> None:
    """Write a file until there is no space left."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


@fault("MLflow server")
def mlflow_server(folder: Path, undisturbed: Path) -> None:
    place = folder / "server"
    place.mkdir(parents=True)
    tracking = MlflowTracker.open(f"sqlite:///{place}/mlflow.db", "hamu_ray", place)
    with serving(tracking, place) as uri:
        sweep = started(folder / "sweep", undisturbed, tracking={"uri": uri})
    sweep.ends(0, "MLflow did not respond: ", "python -m hamu_ray.report")
    with serving(tracking, place) as again:  # on another port
        text = (sweep.folder / "sweep.yaml").read_text().replace(uri, again)
        (sweep.folder / "sweep.yaml").write_text(text)
        command = ["-m", "hamu_ray.report", str(sweep.folder)]
        subprocess.run([sweep.driver.args[0], *command], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        (sweep.folder / "sweep.yaml").write_text(text.replace(again, uri))
    assert_nothing_lost(sweep, undisturbed, tracking.uri)


@fault("MLflow locked")
def mlflow_locked(folder: Path, undisturbed: Path) -> None:
    sweep = started(folder, undisturbed)
    connection = sqlite3.connect(sweep.storage / "mlflow.db", timeout=60, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    sweep.wait_for_trial("0003")
    connection.rollback()
    connection.close()
    sweep.ends(0)
    assert_nothing_lost(sweep, undisturbed)


@fault("second driver")
def second_driver(folder: Path, undisturbed: Path) -> None:
    sweep = started(folder, undisturbed)
    wait_until(lambda: list(sweep.folder.glob("trials/0000/record.json")), sweep.driver, sweep.space)
    command = [sweep.driver.args[0], "-m", "hamu_ray.tune", str(sweep.space), "--resume"]
    second = subprocess.run(command, cwd=sweep.space.parent, capture_output=True, text=True, check=False)
    assert second.returncode == 2, second.stderr
    assert f": process {sweep.driver.pid} on " in second.stderr
    assert second.stderr.count("\n") == 1
    sweep.ends(0)
    assert_nothing_lost(sweep, undisturbed)
