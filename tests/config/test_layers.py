"""Files that extend others, and presets."""

import copy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from hamu_ray.config.sources.files import load, load_run, load_sweep
from hamu_ray.config.sources.layers import merge, merge_two, read_stack
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.task.vision import ForgetClass

KEYS = st.sampled_from("abc")
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(st.integers() | st.lists(st.integers()), lambda inner: st.dictionaries(KEYS, inner)),
)
"""Nested sections without null and with arbitrary names."""


def leaves(document: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is not a section, or an empty section, with its path."""
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*at, key))
        else:
            yield (*at, key), value


@given(DOCUMENTS, DOCUMENTS)
def test_what_is_given_wins_and_all_else_is_inherited(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = copy.deepcopy((base, over))
    merged = dict(leaves(merge_two(base, over)))
    assert (base, over) == before, "neither is changed"
    expected = dict(leaves(over))
    for path, value in leaves(base):
        on_the_way = {path[:length] for length in range(1, len(path) + 1)}
        # A value in place of one of its sections hides it, and vice versa.
        hidden = any(given in on_the_way and kept != {} for given, kept in expected.items())
        replaced = any(given[: len(path)] == path for given in expected)
        if not hidden and not replaced:
            expected[path] = value
    empty = {path for path, value in expected.items() if value == {}}
    filled = {path for path in empty if any(o[: len(path)] == path and o != path for o in expected)}
    assert merged == {path: value for path, value in expected.items() if path not in filled}


@given(st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_a_chain_of_files_is_their_documents_laid_over_each_other(documents: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        for number, document in enumerate(documents):
            extends = {"extends": f"{number - 1}.yaml"} if number else {}
            (Path(folder) / f"{number}.yaml").write_text(yaml.safe_dump({"z": 0, **extends, **document}))
        stack = read_stack(Path(folder) / f"{len(documents) - 1}.yaml")
    expected: dict[str, Any] = {"z": 0}
    for document in documents:
        expected = merge_two(expected, document)
    assert merge(stack.layers) == expected


def sweep(files: Path, text: str, *overrides: str) -> SweepConfig:
    """A user's file in the folder of the recipe."""
    (files / "own.yaml").write_text(text)
    return load_sweep(files / "own.yaml", overrides)


def test_a_file_holds_what_differs(files: Path) -> None:
    config = load_sweep(files / "sub" / "experiment.yaml")
    assert (config.name, config.optimizer.learning_rate, config.optimizer.momentum) == (
        "experiment",
        0.1,
        0.5,
    )
    assert (config.batch.retain, config.batch.forget, config.batch.micro) == (50, 100, 5)
    assert config.duration.epochs == 7
    assert list(config.space) == ["optimizer.learning_rate", "method.name"]


def test_a_preset_is_laid_over_the_experiment_and_other_overrides_over_that(files: Path) -> None:
    config = load_sweep(files / "sub" / "experiment.yaml", ["batch.forget=33", "preset=small"])
    assert (config.batch.retain, config.batch.forget, config.batch.micro) == (10, 33, 2)
    assert (config.duration.epochs, config.duration.steps) == (None, 4)
    assert config.space["optimizer.learning_rate"][0].grid == [0.5], "a domain is replaced as a whole"
    assert (config.name, config.optimizer.momentum) == ("experiment", 0.5)


def test_a_files_own_keys_override_its_selected_preset(files: Path) -> None:
    text = "extends: sub/experiment.yaml\npreset: small\nduration: {steps: 9}\n"
    config = sweep(files, text)
    assert (config.batch.retain, config.batch.micro, config.duration.steps) == (10, 2, 9)
    assert sweep(files, text, "preset=tiny").batch.retain == 1
    assert sweep(files, text, "preset=tiny").duration.steps == 9
    assert sweep(files, text, "preset=null") == config


def test_a_file_may_select_its_own_preset(files: Path) -> None:
    text = (
        "extends: recipe.yaml\npreset: small\nduration: {steps: 9}\npresets: {small: {duration.steps: 5}}\n"
    )
    assert sweep(files, text).duration.steps == 5


def test_presets_are_inherited_through_a_file_that_took_one(files: Path) -> None:
    (files / "small.yaml").write_text("extends: recipe.yaml\npreset: small\nbatch: {retain: 20}\n")
    config = sweep(files, "extends: small.yaml\nbatch: {micro: 1}\n")
    assert (config.batch.retain, config.batch.micro, config.duration.steps) == (20, 1, 4)
    assert sweep(files, "extends: small.yaml\npreset: tiny\n").batch.retain == 1


def test_null_takes_out_of_the_space_and_sections_back_to_their_defaults(files: Path) -> None:
    config = sweep(files, "extends: recipe.yaml\nspace: {seed: null}\noptimizer: null\n")
    assert list(config.space) == ["optimizer.learning_rate"]
    assert config.optimizer.learning_rate == 1e-4
    assert list(sweep(files, "extends: recipe.yaml\n", "space.seed=null").space) == [
        "optimizer.learning_rate"
    ]


def test_other_data_inherit_nothing_of_their_section(files: Path) -> None:
    (files / "data.yaml").write_text(
        "extends: recipe.yaml\ndata: {name: cifar10, train_limit: 5}\nforget: {kind: class, label: 3}\n"
    )
    same = sweep(files, "extends: data.yaml\ndata: {test_limit: 4}\nforget: {rho: 0.5}\n")
    assert same.data.model_dump()["train_limit"] == 5
    assert same.forget == ForgetClass(label=3, rho=0.5)
    other = sweep(files, "extends: data.yaml\ndata: {name: digits}\nforget: {kind: random, share: 0.2}\n")
    assert (other.data.name, other.forget.kind) == ("digits", "random")


def test_runs_and_search_spaces_extend_each_other(files: Path) -> None:
    assert isinstance(load(files / "sub" / "experiment.yaml"), SweepConfig)
    text = "extends: recipe.yaml\npreset: small\nspace: null\nmethod: {name: ft}\n"
    (files / "run.yaml").write_text(text)
    run = load(files / "run.yaml")
    assert not isinstance(run, SweepConfig)
    assert (run.method.name, run.batch.retain, run.duration.steps) == ("ft", 10, 4)
    assert load_run(files / "run.yaml") == run
    assert load_run(files / "recipe.yaml", ["space=null"]).name == "recipe"


def test_the_whole_configuration_gives_the_same_sweep_again(files: Path) -> None:
    config = load_sweep(
        files / "sub" / "experiment.yaml",
        ["preset=small", "optimizer.clip_norm=null", "stop.collapse_ratio=null"],
    )
    assert not {"extends", "presets", "preset"} & config.whole.keys()
    (files / "again.yaml").write_text(yaml.safe_dump(config.whole, sort_keys=False))
    assert load_sweep(files / "again.yaml") == config


def test_behind_a_url(files: Path) -> None:
    for name in ("recipe.yaml", "sub/experiment.yaml"):
        UPath(f"memory://bucket/{name}").parent.mkdir(parents=True, exist_ok=True)
        UPath(f"memory://bucket/{name}").write_text((files / name).read_text())
    there = load_sweep("memory://bucket/sub/experiment.yaml", ["preset=small"])
    assert there == load_sweep(files / "sub" / "experiment.yaml", ["preset=small"])
    assert sweep(files, "extends: memory://bucket/sub/experiment.yaml\n").batch.retain == 50


def test_layers_import_nothing_slow() -> None:
    code = (
        "import sys, hamu_ray.config.sources.layers; "
        "print(sorted({'torch', 'ray', 'mlflow', 'upath'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_null_removes_a_list_of_domains_too(files: Path) -> None:
    conditional = "space: {method.constraint_ratio: [{uniform: [0.1, 0.2], when: {method.name: hamu-q}}]}"
    (files / "base.yaml").write_text(f"extends: recipe.yaml\n{conditional}\n")
    assert "method.constraint_ratio" in sweep(files, "extends: base.yaml\n").space
    removed = [
        sweep(files, "extends: base.yaml\nspace: {method.constraint_ratio: null}\n"),
        sweep(files, "extends: base.yaml\n", "space.method.constraint_ratio=null"),
    ]
    assert all("method.constraint_ratio" not in config.space for config in removed)
