"""The studies of docs/hamu.md and docs/study: equal draws, appended rows, and the resulting tables."""

import csv
import re
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
import yaml
from scipy import stats

from hamu_ray.config.sources.files import load_sweep
from hamu_ray.methods import Context
from hamu_ray.methods.hyperparameters import WeightedSum

ROOT = Path(__file__).parents[1]
STUDY, SPACES = ROOT / "docs" / "study", ROOT / "search_spaces" / "study"
sys.path.append(str(ROOT / "scripts" / "studies"))  # as for the scripts themselves


def script(name: str) -> ModuleType:
    loader = SourceFileLoader(name, str(ROOT / "scripts" / "studies" / name))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


ablation, ablation_table = script("ablation"), script("ablation_table")
benchmark, benchmark_tables = script("benchmark"), script("benchmark_tables")
benchmark_data = sys.modules["benchmark_data"]
claims, claims_tables = script("claims"), script("claims_tables")
claims_data = sys.modules["claims_data"]


def test_a_weighted_sum_of_hamu_s_length() -> None:
    """The same direction in every block, and as long as the block's retain gradient."""
    pair = torch.randn(5, 2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pair[3] = 0
    gram = pair @ pair.mT
    weights = ablation.as_long_as_hamu(
        gram, Context(lr=0.1, hyperparameters=WeightedSum(retain_weight=0.3))
    ).weights
    steps = (weights.unsqueeze(-1) * pair).sum(1)
    torch.testing.assert_close(steps.norm(dim=-1), pair[:, 0].norm(dim=-1))
    plain = 0.3 * pair[:, 0] - 0.7 * pair[:, 1]
    torch.testing.assert_close(torch.cosine_similarity(steps, plain)[:3], torch.ones(3, dtype=torch.float64))


def test_all_arms_of_the_documented_study_get_the_same_draws() -> None:
    configs = [load_sweep(path) for path in sorted((ROOT / "docs" / "hamu" / "ablation").glob("*.yaml"))]
    assert len(configs) == 5
    rows = [ablation.row_of(draw, name, run) for draw, name, run in ablation.trials(configs, 2)]
    arms = {tuple(str(row[key]) for key in ablation_table.ARM) for row in rows}
    assert len(rows) == len(arms) * 2 * 5 * 2 == 21 * 2 * 5 * 2, "arms x forget sets x seeds x draws"
    assert len({tuple(str(row[key]) for key in ablation.KEY) for row in rows}) == len(rows)
    for draw in (0, 1):
        of_it = [row for row in rows if row["draw"] == draw]
        assert len({row["learning_rate"] for row in of_it}) == 1
        assert len({row["retain_weight"] for row in of_it if row["retain_weight"] != ""}) == 1
    for method, low, high in (("hamu-q", 0.2, 0.3), ("hamu-u", 0.75, 0.85)):
        asked = {row["value"] for row in rows if row["method"] == method and row["constraint"] == "fraction"}
        assert len(asked) == 2
        assert all(low < value < high for value in asked)


def test_rows_are_added_once_and_make_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {
        "extends": str(ROOT / "docs" / "hamu" / "ablation" / "fraction.yaml"),
        "storage": {"path": str(tmp_path / "runs")},
        "training": {"epochs": 1},
        "duration": {"steps": 2},
        "space": {
            "method.name": {"grid": ["hamu-q", "gdiff"]},
            "method.constraint_split": None,
            "method.trust_region": None,
            "seed": {"grid": [41]},
            "forget.rho": {"grid": [0.5]},
        },
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    table = tmp_path / "table.csv"

    def study(draws: int) -> list[dict[str, str]]:
        monkeypatch.setattr(
            sys,
            "argv",
            ["ablation", str(tmp_path / "space.yaml"), "--table", str(table), "--draws", str(draws)],
        )
        ablation.main()
        with table.open() as file:
            return list(csv.DictReader(file))

    first = study(1)
    assert [row["method"] for row in first] == ["hamu-q", "gdiff", "gdiff-length"]
    assert all(0 <= float(row[name]) <= 1 for row in first for name in ("forget_quality", "retain_utility"))
    assert [row["steps_outside_guarantee"] for row in first] == ["0", "", ""]
    both = study(2)
    assert both[:3] == first
    assert [row["draw"] for row in both] == ["0"] * 3 + ["1"] * 3
    monkeypatch.setattr(sys, "argv", ["ablation_table", str(table)])
    ablation_table.main()
    printed = capsys.readouterr().out
    assert "6 trials" in printed
    rows = [line for line in printed.splitlines() if line.startswith("| `")]
    assert {re.match(r"\| `([^`]+)`", line).group(1) for line in rows} == {"hamu-q", "gdiff", "gdiff-length"}  # type: ignore[union-attr]
    with table.open("a") as file:
        file.write(table.read_text().splitlines()[1].replace(",0,0.", ",2,0.", 1) + "\n")
    ablation_table.main()
    assert "6 trials" in capsys.readouterr().out, "a draw that not all arms have is left out"


def without_times(table: Path) -> list[dict[str, str]]:
    with table.open() as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def test_an_interrupted_benchmark_continues_with_the_trials_that_it_would_have_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The searcher learns from the rows of the file: the last samples of each method are not drawn at random."""

    def run(what: str, table: Path, *more: str) -> list[dict[str, str]]:
        changes = [
            "preset=smallest",
            f"storage.path={tmp_path}/runs",
            "space.method.name={grid: [hamu-u, gdiff]}",
            "space.method.saliency=null",
            "space.method.l1_penalty=null",
            "space.method.initial_multiplier=null",
            "space.method.retain_loss_eps=null",
            "search.budget.gradients=16",
        ]
        given = ["benchmark", what, str(SPACES / "digits_half.yaml"), "--table", str(table), "--seeds", "0"]
        given += ["--unlearning-seeds", "2", *more]
        for change in changes:
            given += ["--set", change]
        monkeypatch.setattr(sys, "argv", given)
        benchmark.main()
        return without_times(table)

    whole = run("search", tmp_path / "whole.csv")
    assert [row["purpose"] for row in whole] == ["original", "reference"] + ["search"] * 8
    assert [row["method"] for row in whole[2:]] == ["hamu-u", "gdiff"] * 4
    first, *_ = {row["parameters"] for row in whole[2:] if row["method"] == "gdiff"}
    assert "method.retain_weight" in first
    cut = tmp_path / "cut.csv"
    cut.write_text("".join((tmp_path / "whole.csv").read_text().splitlines(keepends=True)[:7]))
    assert run("search", cut) == whole
    part = run("search", tmp_path / "part.csv", "--methods", "gdiff")
    assert part[2:] == whole[3::2], "they do not depend on the trials of other methods"
    confirmed = run("confirm", cut)[len(whole) :]
    assert [(row["method"], row["seed"]) for row in confirmed] == [
        (method, seed) for seed in ("42", "43") for method in ("hamu-u", "gdiff")
    ], "with seeds that the search did not have"
    best = {(row["method"], row["trial"]) for row in confirmed}
    for method, trial in best:
        areas = {
            row["trial"]: float(row["forget_quality"]) * float(row["retain_utility"])
            for row in whole[2:]
            if row["method"] == method and row["status"] == "finished"
        }
        assert areas[trial] == max(areas.values())


def test_the_study_s_spaces_search_the_same_hyperparameters() -> None:
    digits, cifar, tofu = (
        load_sweep(SPACES / f"{name}.yaml") for name in ("digits_class", "cifar_class", "tofu_none")
    )
    assert len(digits.methods) >= 15
    assert digits.methods == cifar.methods
    assert len(tofu.methods) >= 10
    for config in (cifar, tofu):
        shared = digits.space.keys() & config.space.keys() - {"method.name", "optimizer.learning_rate"}
        assert all(digits.space[key] == config.space[key] for key in shared)
    assert digits.space.keys() == cifar.space.keys()


@pytest.mark.parametrize("table", sorted(STUDY.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_documented_tables_are_those_of_the_rows(table: Path) -> None:
    """A study has a page of its name; that of digits is the folder's."""
    page = (STUDY / ("README.md" if table.stem == "digits" else f"{table.stem}.md")).read_text()
    found = re.findall(r"<!-- table: (\w+) -->", page)
    assert found
    assert set(found) <= set(benchmark_tables.TABLES)
    assert benchmark_tables.with_tables(page, benchmark_tables.Data(table.with_suffix(".csv"))) == page


def test_the_tables_of_the_claims_are_those_of_the_rows() -> None:
    page = (STUDY / "claims.md").read_text()
    assert set(re.findall(r"<!-- table: (\w+) -->", page)) == set(claims_tables.TABLES)
    assert claims_tables.with_tables(page, claims_data.Claims(STUDY / "claims.csv")) == page


def made_run(tmp_path: Path, forget: list[float], retain: list[float], hardness: list[float]) -> object:
    """A run of hamu-q with the fraction 0.5, evaluated every three steps; R's forget loss is 1."""
    arm = {
        "label": 0,
        "rho": 0.5,
        "method": "hamu-q",
        "constraint_fraction": 0.5,
        "learning_rate": 0.1,
        "seed": 41,
    }
    rows = [
        {"step": 3 * i, "forget_loss": f, "retain_loss": r, "hardness": h, "retain_utility": 0.9 - 0.1 * i}
        for i, (f, r, h) in enumerate(zip(forget, retain, hardness, strict=True))
    ]
    rows.append({"step": "R", "forget_loss": 1.0, "retain_loss": 0.1, "retain_utility": 0.9})
    common = {"forget_quality": 0.5, "gradient_cosine": 0.6, "status": "finished"}
    pd.DataFrame([arm | common | row for row in rows]).to_csv(tmp_path / "made.csv", index=False)
    (run,) = claims_data.Claims(tmp_path / "made.csv").runs
    return run


def test_what_a_run_pays_and_when_the_criterion_is_met(tmp_path: Path) -> None:
    run = made_run(tmp_path, [0.2, 0.6, 1.4], [0.1, 0.2, 0.4], [0.2, 0.6, 0.9])
    assert run.arm == "hamu-q 0.5"
    assert run.sine == pytest.approx(0.8)
    assert run.to_reference() == pytest.approx((4.5, 0.2, 0.15)), "half way between two evaluations"
    assert run.criterion() == 1, "0.4 of the change are free, and 0.5 are asked for"
    assert not claims_tables.improved(run, 1)
    assert claims_tables.best_after(run, 1) == 0
    run = made_run(tmp_path, [0.2, 0.6, 0.8], [0.1, 0.2, 0.05], [0.2, 0.6, 0.1])
    assert run.to_reference() is None
    assert claims_tables.improved(run, 1)
    assert made_run(tmp_path, [1.2, 1.3], [0.1, 0.1], [0, 0]).to_reference() == (0, 0, 0)


def test_every_evaluation_of_a_run_is_a_row_and_no_run_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "claims.csv"
    given = ["claims", str(SPACES / "digits_claims.yaml"), "--table", str(table), "--set", "preset=smallest"]
    monkeypatch.setattr(sys, "argv", [*given, "--set", f"storage.path={tmp_path}/runs"])
    claims.main()
    text = table.read_text()
    claims.main()
    assert table.read_text() == text
    found = claims_data.Claims(table)
    assert [(run.arm, run.rho) for run in found.runs] == [
        (arm, rho) for rho in (0.0, 0.5) for arm in ("gdiff", "hamu-q 0.25")
    ]
    for run in found.runs:
        assert run.path["step"].tolist() == [0, 2, 4]
        assert run.path["gradient_cosine"].notna().tolist() == [True, True, False], "of the step that follows"
        assert run.path["hardness"].notna().sum() == 2 * run.is_hamu
        assert run.path["retain_loss"].nunique() == 3
        assert run.reference["forget_quality"] == 1


def test_volumes_and_corrected_tests_of_made_rows() -> None:
    points = [
        ("a", 0, 0.5, 0.8),
        ("a", 0, 0.8, 0.5),
        ("b", 0, 0.2, 0.5),
        ("b", 0, 0.9, 0.9),
        ("a", 1, 1.0, 1.0),
    ]
    rows = pd.DataFrame(points, columns=["method", "search_seed", "forget_quality", "retain_utility"])
    rows = rows.assign(space="s", trial=range(5), status="finished", gradient_computations=10)
    rows.loc[3, "status"] = "collapsed"
    found = benchmark_data.volumes(benchmark_data.complete(rows))
    assert dict(zip(found["method"], found["volume"], strict=True)) == pytest.approx({"a": 0.55, "b": 0.1})
    assert set(found["search_seed"]) == {0}, "the second search is not complete"

    values = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.9, 1.9, 2.8, 3.9], "c": [1.1, 1.9, 3.2, 3.8]})
    tests = benchmark_tables.tests_of(values, ["a", "b", "c"], ["a"])
    interval, p = tests["b", "a"]
    plain = [stats.ttest_rel(values[other], values["a"]).pvalue for other in ("b", "c")]
    assert interval.mean == pytest.approx(-0.125)
    assert p == pytest.approx(2 * min(plain)), "Holm's factor of the smallest p-value is the number of tests"
    assert tests["c", "a"][1] == pytest.approx(max(plain))
