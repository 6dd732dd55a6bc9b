"""`hamu-ray reproduce`: a small study runs again with the same numbers, in parts, and differences have a unit."""

import csv
import json
import math
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.reproduce import study as again
from hamu_ray.reproduce.columns import COLUMNS
from hamu_ray.reproduce.distance import Difference, identical
from hamu_ray.reproduce.published import published
from hamu_ray.reproduce.run import Study
from hamu_ray.reproduce.study import Part
from hamu_ray.results.pareto.front import Interval
from hamu_ray.storage import RAY_JOB

ROOT = Path(__file__).parents[2]
INF = math.inf


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two methods, one with another forget objective, in two searches, and the best trial of each."""
    folder = tmp_path_factory.mktemp("study")
    space = {
        "extends": str(ROOT / "search_spaces" / "digits.yaml"),
        "name": "small",
        "storage": {"path": str(folder / "runs")},
        "training": {"epochs": 1, "seed": 41},
        "batch": {"retain": 16, "forget": 16},
        "duration": {"steps": 2},
        "evaluation": {"every_steps": 1, "subset": 50},
        "workers": {"count": 1},
        "space": {
            "method.name": {"grid": ["hamu-u", "gdiff"]},
            "method.forget_objective": {"grid": ["wga"], "when": {"method.name": "gdiff"}},
            "optimizer.learning_rate": {"loguniform": [0.02, 0.1]},
            "method.constraint_fraction": {"uniform": [0.6, 0.9]},
        },
        "search": {"samples": 1, "budget": {"gradients": 12}},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(space))
    (folder / "tiny.yaml").write_text(yaml.safe_dump({"spaces": [str(folder / "small.yaml")]}))
    table = folder / "tiny.csv"
    running = Study(table, INF, str(folder / "runs"))
    with table.open() as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    for seed in (0, 1):
        (config,) = published(str(folder / "tiny.yaml")).configs(seed).values()
        assert running.search(config)
    for row in [row for row in running.rows.all if row["trial"] in ("0", "1")]:
        for seed in (42, 43):
            assert running.confirm(config, row, seed, 41)
    return folder / "tiny.yaml"


def run(
    study: Path, part: Part, table: Path, capsys: pytest.CaptureFixture[str], minutes: float = INF
) -> dict:
    """Run a part of a study again; return the JSON document."""
    code = again.reproduce(str(study), part, table, changes=[], minutes=minutes, as_json=True)
    document: dict = json.loads(capsys.readouterr().out)
    assert document["complete"] is (code == 0)
    return document


def test_it_comes_to_the_same_numbers(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(study, Part(), tmp_path / "again.csv", capsys)
    assert found["runs"] == found["identical_runs"] == 2 * 2 * 3 + 2 * 2 * 2, (
        "searches, and trials with new seeds"
    )
    names = {(one["method"], one["number"]) for one in found["numbers"]}
    assert {("hamu-u", "hypervolume"), ("gdiff+wga", "hypervolume"), ("gdiff+wga", "test_accuracy")} <= names
    assert all(one["distance"] == 0 for one in found["numbers"])
    assert all(one["runs"] == 2 for one in found["numbers"] if one["number"] == "hypervolume")


def test_a_part_has_the_trials_that_the_whole_has_and_is_continued(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, table = Part(methods=["gdiff+wga"], seeds=[1]), tmp_path / "part.csv"
    assert run(study, part, table, capsys, minutes=0)["complete"] is False
    found = run(study, part, table, capsys)
    assert found["runs"] == found["identical_runs"] == 3 + 2
    assert {one["method"] for one in found["numbers"]} == {"gdiff+wga"}
    lines = table.read_text()
    assert run(study, part, table, capsys) == found
    assert table.read_text() == lines, "what the table has is not run again"


def test_a_method_that_one_search_does_not_have_is_not_run_with_its_seed(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def searched(table: Path) -> list[tuple[str, str]]:
        with table.open() as file:
            rows = list(csv.DictReader(file))
        return [(row["search_seed"], row["method"]) for row in rows if row["purpose"] == "search"]

    (tmp_path / "fewer.yaml").write_text(study.read_text())
    with study.with_suffix(".csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["purpose"] != "confirm"]
    with (tmp_path / "fewer.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row for row in rows if (row["search_seed"], row["method"]) != ("1", "hamu-u"))
    found = run(tmp_path / "fewer.yaml", Part(), tmp_path / "again.csv", capsys)
    assert found["identical_runs"] == 3 * 3
    assert searched(tmp_path / "again.csv") == searched(tmp_path / "fewer.csv")


def test_another_number_is_found_and_printed(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, table = Part(methods=["hamu-u"], seeds=[0]), tmp_path / "other.csv"
    run(study, part, table, capsys)
    rows = list(csv.DictReader(table.open()))
    rows[-1]["forget_quality"] = "0.123"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    assert again.reproduce(str(study), part, table, changes=[], minutes=INF, as_json=False) == 0
    printed = capsys.readouterr().out
    assert "4 of 5 runs have the published numbers" in printed
    assert "the farthest, forget_quality of hamu-u on small," in printed


def test_distances_are_in_half_lengths_of_the_interval() -> None:
    def of(interval: Interval, value: float) -> float:
        return Difference("a", "b", "c", interval, 0.5, value, 3).distance

    assert of(Interval(0.5, 0.3, 0.7), 0.6) == pytest.approx(0.5)
    assert of(Interval(0.5, 0.3, 0.7), 0.1) == pytest.approx(-2)
    assert of(Interval(0.5, 0.5, 0.5), 0.4) == -INF
    assert of(Interval(0.5, math.nan, math.nan), 0.5) == 0
    assert math.isnan(of(Interval(0.5, math.nan, math.nan), 0.6))
    row = dict.fromkeys(COLUMNS, "1") | {"purpose": "search", "parameters": '{"a": 1}'}
    same = row | {"seconds": "2", "parameters": '{"a":1.0}'}
    assert identical([row], [same, row | {"trial": "2"}]) == (1, 1)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part(methods=["gdif"]), "--methods gdif: not in .*; did you mean"),
        (Part(requests=["large"]), "--requests large: not in .*; known: small"),
        (Part(seeds=[7]), "--seeds 7: not in .*; known: 0, 1"),
    ],
)
def test_what_the_study_does_not_have_is_one_line(
    part: Part, message: str, study: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        again.reproduce(str(study), part, tmp_path / "x.csv", changes=[], minutes=INF, as_json=False)
    assert not (tmp_path / "x.csv").exists()


def test_a_file_that_is_no_study_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="study/digit: no such study; did you mean study/digits"):
        published("study/digit")
    (tmp_path / "a.yaml").write_text("name: a\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: not a study"):
        published(str(tmp_path / "a.yaml"))
    (tmp_path / "a.yaml").write_text("spaces: [digits]\n")
    with pytest.raises(ConfigError, match=r"a\.csv: the study's table is missing"):
        published(str(tmp_path / "a.yaml"))
    (tmp_path / "a.csv").write_text("space,trial\n")
    with pytest.raises(ConfigError, match=r"a\.csv: not a study's table, it lacks the columns"):
        published(str(tmp_path / "a.yaml"))


def test_a_table_and_a_study_that_do_not_fit_are_one_line(study: Path, tmp_path: Path) -> None:
    def reproduce(path: Path, table: Path) -> None:
        again.reproduce(str(path), Part(), table, changes=[], minutes=INF, as_json=False)

    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"other\.csv: not a table of these runs"):
        reproduce(study, other)
    assert other.read_text() == "a,b\n1,2\n", "nothing is written to it"
    (tmp_path / "a.yaml").write_text(study.read_text())
    rows = study.with_suffix(".csv").read_text()
    (tmp_path / "a.csv").write_text(rows.replace("small,", "large,"))
    with pytest.raises(ConfigError, match=r"a\.yaml: the table has runs of large, and spaces only of small"):
        reproduce(tmp_path / "a.yaml", tmp_path / "x.csv")
    (tmp_path / "a.csv").write_text(rows.partition("\n")[0] + "\n")
    with pytest.raises(ConfigError, match=r"a\.csv: no run of a search"):
        reproduce(tmp_path / "a.yaml", tmp_path / "x.csv")


def test_changed_spaces_have_a_table_of_their_own() -> None:
    """Rows of other settings would be taken for those of the study."""
    table = partial(again.default_table, Path("/runs"), "digits")
    plain, changed, other = map(table, ([], ["a=1"], ["a=2"]))
    assert plain == Path("/runs/study/digits.csv")
    assert len({plain, changed, other}) == 3
    assert table(["b=2", "a=1"]) == table(["a=1", "b=2"])


def test_a_submitted_job_leaves_no_table_in_its_own_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RAY_JOB, "{}")
    with pytest.raises(
        ConfigError, match=r"digits\.yaml: storage\.path: runs would be in the job's own folder"
    ):
        again.reproduce("study/digits", again.Part(), None, changes=(), minutes=0, as_json=False)
    kept = ["storage.path=" + str(tmp_path / "kept")]
    with pytest.raises(
        ConfigError, match=r"^--table x\.csv: would be in the job's own folder.* give an absolute path"
    ):
        again.reproduce("study/digits", again.Part(), Path("x.csv"), changes=kept, minutes=0, as_json=False)


def test_the_shipped_studies_name_their_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((ROOT / "docs" / "study").glob("*.yaml"))
    assert files
    for path in files:
        found = published(f"study/{path.stem}")
        assert set(found.configs(0)) >= set(found.requests)
    monkeypatch.setattr(sys, "argv", ["hamu-ray", "reproduce", "--help"])
    from hamu_ray.__main__ import overview

    assert "hamu-ray reproduce STUDY" in overview()


def test_a_method_whose_packages_are_missing_ends_it_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamu_ray.methods.registry.find_spec", lambda name: None)
    table = tmp_path / "digits.csv"
    with pytest.raises(ConfigError, match=r"method\.name: jd-\w+ needs torchjd.*hamu-ray\[torchjd\]"):
        again.reproduce("study/digits", Part(), table, changes=(), minutes=INF, as_json=False)
    assert not table.exists()
    part = Part(requests=["digits-half"], methods=["gdiff"], seeds=[0])
    assert again.reproduce("study/digits", part, table, changes=(), minutes=0, as_json=False) == 1
