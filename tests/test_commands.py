"""The commands as users run them: options, a dry run, and errors of one line with exit code 2."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hamu_ray import __main__ as overview
from hamu_ray import doctor, report, train, tune, unlearn
from hamu_ray.command import run_command
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "search_spaces" / "digits.yaml"
SPACE = "space: {optimizer.learning_rate: {loguniform: [1e-4, 0.1]}}\n"


def command(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in its own folder, without a tracking store from the environment."""
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", f"hamu_ray.{name}", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "optimizer: {learing_rate: 1}\n",
            "optimizer.learing_rate: unknown key; did you mean learning_rate?",
        ),
        ("method: {name: hamu_q}\n", "method.name: unknown method 'hamu_q'; did you mean hamu-q?"),
        ("workers: {count: 3}\n", "workers.count: must be 1 or even"),
        (
            "search: {objectives: [{metric: retain_utilty}, {metric: forget_quality}]}\n",
            "search.objectives.0.metric: the vision task has no metric retain_utilty; did you mean retain_utility?",
        ),
        (
            "storage: {path: x.yaml/runs}\n",
            "storage.path: cannot write to x.yaml/runs: Not a directory; ",
        ),
        (
            "tracking: {uri: 'http://127.0.0.1:9'}\n",
            "tracking.uri: cannot use the MLflow store http://127",
        ),
        (
            "forget: {kind: class, label: 10}\n",
            "forget.label: there is no class 10; the classes are 0=0,",
        ),
        ("forget: {kind: random, share: 1e-4}\n", "forget.share: 0.0001 of 1437 training images is empty"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "x.yaml").write_text(text + SPACE)
    ended = command(tmp_path, "tune", "x.yaml")
    assert ended.stderr.startswith(f"error: x.yaml: {line}")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert ended.returncode == 2


@pytest.mark.parametrize("name", ["unlearn", "train"])
def test_other_commands_check_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.yaml").write_text("forget: {kind: class, label: 10}\n")
    ended = command(tmp_path, name, "x.yaml", "--set", "seed=3")
    assert ended.stderr.startswith("error: x.yaml: forget.label: there is no class 10; ")
    assert (ended.stderr.count("\n"), ended.stdout, ended.returncode) == (1, "", 2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("tune", ()), ("tune", ("x.yaml", "--sett", "a=1")), ("unlearn", ()), ("train", ()), ("report", ())],
)
def test_wrong_arguments(tmp_path: Path, name: str, arguments: tuple[str, ...]) -> None:
    ended = command(tmp_path, name, *arguments)
    assert ended.stderr.startswith(f"usage: python -m hamu_ray.{name} ")
    assert (ended.stdout, ended.returncode) == ("", 2)


def test_errors_are_one_line_for_all_contents(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise ConfigError("x.yaml: two\nlines\tand  spaces")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: x.yaml: two lines and spaces\n"


def test_an_interrupt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Also the second one, while a sweep is closing after the first."""

    def main() -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_command(main, "the same command goes on")
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on\n"


def test_dry_run(tmp_path: Path) -> None:
    ended = command(tmp_path, "tune", str(DIGITS), "--dry-run", "--set", "search.samples=3")
    assert (ended.stderr, ended.returncode) == ("", 0)
    about, _, first = ended.stdout.partition("first configuration\n")
    assert re.search(r"^trials +27 \(9 cells of the grids x 3 samples, tpe\)$", about, re.MULTILINE)
    assert re.search(r"^workers +2 a trial, 1 CPU each$", about, re.MULTILINE)
    assert re.search(r"^objectives +max forget_quality, max retain_utility$", about, re.MULTILINE)
    assert "optimizer.learning_rate: loguniform [0.02, 0.1]" in about
    assert re.search(
        r"^memory +0.6 GB per worker, unlearning with \S+ and sgd \(269,434 parameters\)$", about, re.M
    )
    words = " ".join(about.split())  # lines are wrapped to the terminal
    assert "hamu-q requires 20.0 % to 30.0 % of the forgetting available in a step" in words
    assert "hamu-u requires 75.0 % to 85.0 % of the retaining available in a step" in words
    run = RunConfig.model_validate(yaml.safe_load(first))
    assert (run.method.name, run.method.constraint_fraction, run.optimizer.learning_rate) == (
        "hamu-q",
        0.2,
        0.06,
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_dry_run_for_a_cluster_connects_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    ended = command(tmp_path, "tune", str(DIGITS), "--dry-run")
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert "no verdict: nothing is known of the workers' device" in " ".join(ended.stdout.split())


def test_errors_of_checks_name_the_change_that_caused_them(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        f"extends: {DIGITS}\nsearch: {{objectives: [{{metric: a}}, {{metric: b}}]}}\n"
    )
    (tmp_path / "x.yaml").write_text("extends: base.yaml\n")
    metric = "search.objectives.0.metric: the vision task has no metric a"
    scheduler = "search.scheduler={kind: rungs, reduction: 3, steps: [10, 30]}"
    rungs = "search.scheduler: 2 rungs with reduction 3 need 9 or more samples"
    for arguments, start in (
        (["x.yaml"], f"error: x.yaml extends base.yaml: {metric}"),
        ([str(DIGITS), "--set", scheduler], f"error: {DIGITS} with --set {scheduler}: {rungs}"),
    ):
        ended = command(tmp_path, "tune", *arguments, "--dry-run", "--set", "search.samples=3")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(start)


def test_a_run_that_cannot_fit_is_refused_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("batch: {retain: 2, forget: 2}\nevaluation: {batch_size: 2}\n")
    ended = command(tmp_path, "unlearn", "run.yaml", "--dry-run", "--device-memory", "1GB")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        "error: run.yaml: training base models with adamw needs 0.7 GB of memory, more than 0.5 GB for"
    )
    assert line.endswith("of the given device, which 2 workers share; use devices with more memory")
    assert re.search(r"^memory .*unlearning with hamu-q and sgd", ended.stdout, re.MULTILINE)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "run.yaml"]
    unread = command(tmp_path, "tune", str(DIGITS), "--device-memory", "1GB")
    assert (unread.returncode, unread.stderr.splitlines()[-1][-35:]) == (
        2,
        "--device-memory: requires --dry-run",
    )


@pytest.mark.parametrize(
    ("main", "options"),
    [
        (tune.main, ["config", "--set", "--dry-run", "--device-memory", "--resume"]),
        (unlearn.main, ["config", "--set", "--output", "--force", "--dry-run", "--device-memory"]),
        (train.main, ["config", "--set"]),
        (report.main, ["targets", "--tracking", "--output", "--bundle"]),
        (
            doctor.main,
            ["target", "data", "--base", "--forget", "--forget-ids", "--output", "--cluster", "--repair"],
        ),
    ],
)
def test_options_are_these(
    main: Callable[[], int], options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Differences between experiments belong in configurations: think twice before adding an option."""
    parsers: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        parsers.append(parser)
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(SystemExit):
        main()
    actions = [action for action in parsers[0]._actions if action.dest != "help"]
    assert [
        action.option_strings[0] if action.option_strings else action.dest for action in actions
    ] == options


def test_a_reader_may_close_the_output(tmp_path: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m hamu_ray methods | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("Methods\n", "")


def test_zsh_completes_where_nothing_has_started_its_completion(tmp_path: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("not installed: zsh")
    (tmp_path / "script").write_text(overview.completion("zsh"))
    line = "source ./script && print -- $_comps[hamu-ray]"
    ended = subprocess.run([zsh, "-f", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("_bash_complete -o filenames -F _hamu_ray\n", "")


def test_completion_is_for_two_shells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["hamu-ray", "--completion", "fish"])
    with pytest.raises(SystemExit) as ended:
        overview.run()
    assert (ended.value.code, capsys.readouterr().err) == (2, "error: --completion fish: give bash or zsh\n")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("hamu-ray se", "select"), ("hamu-ray tune digi", "digits"), ("hamu-ray report my", "my.csv")],
)
def test_completion(words: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "my.csv").touch()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    python = [sys.executable, "-m", "hamu_ray", "--completion", "bash"]
    script = subprocess.run(python, env=environment, capture_output=True, text=True, check=True).stdout
    last = len(words.split()) - 1
    lines = f"{script}\nCOMP_WORDS=({words}) COMP_CWORD={last}\n_hamu_ray\necho ${{COMPREPLY[@]}}\n"
    ended = subprocess.run(["bash", "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [wanted]
