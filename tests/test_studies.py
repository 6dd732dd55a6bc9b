"""The ablation study of docs/hamu.md: equal draws for all arms, appended rows, and the resulting table."""

import csv
import re
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from hamu_ray.config.sources.files import load_sweep
from hamu_ray.methods import Context
from hamu_ray.methods.hyperparameters import WeightedSum

ROOT = Path(__file__).parents[1]


def script(name: str) -> ModuleType:
    loader = SourceFileLoader(name, str(ROOT / "scripts" / "studies" / name))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


ablation, ablation_table = script("ablation"), script("ablation_table")


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
