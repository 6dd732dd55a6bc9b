"""Errors in files that extend others, and in presets: the message names the file that contains them."""

from pathlib import Path

import pytest

from hamu_ray.config.sources.files import ConfigError, load_run, load_sweep

SPACE = "space: {seed: {grid: [1]}}\n"


@pytest.mark.parametrize(
    ("text", "overrides", "line"),
    [
        (
            "extends: recipe.yaml\npreset: smal\n",
            [],
            "own.yaml: preset: unknown preset 'smal'; use small or tiny",
        ),
        (
            "extends: recipe.yaml\n",
            ["preset=smal"],
            "own.yaml with --set preset=smal: preset: unknown preset 'smal'; use small or tiny",
        ),
        (SPACE + "preset: x\n", [], "own.yaml: preset: unknown preset 'x'; the file defines none; remove it"),
        (
            "extends: recipe.yaml\npreset: [small]\n",
            [],
            "own.yaml: preset: unknown preset ['small']; use small or",
        ),
        ("extends: 3\n", [], "own.yaml: extends: expected a file path relative to this file, found 3"),
        ("extends: recip.yaml\n", [], "own.yaml extends recip.yaml: no such file; did you mean "),
        (
            "extends: own.yaml\n",
            [],
            "own.yaml: extends: own.yaml extends this file itself; remove one of the two",
        ),
        (
            "extends: loop.yaml\n",
            [],
            "own.yaml extends loop.yaml: extends: own.yaml extends this file itself; remove one of the two",
        ),
        (
            "extends: text.yaml\n",
            [],
            "own.yaml extends text.yaml: line 1: mapping values are not allowed here",
        ),
        (
            "presets: 3\n",
            [],
            "own.yaml: presets: expected names and changes, such as small: {duration.steps: 10}, found 3",
        ),
        (
            "presets: {small: 3}\n",
            [],
            "own.yaml: presets.small: expected key paths and values, such as duration.steps: 10, found 3",
        ),
        (
            "extends: wrong.yaml\n",
            [],
            "own.yaml extends wrong.yaml: optimizer.learing_rate: unknown key; did you mean learning_rate?",
        ),
        (
            "extends: again.yaml\n",
            [],
            "own.yaml extends wrong.yaml: optimizer.learing_rate: unknown key; did you mean learning_rate?",
        ),
        (
            "extends: recipe.yaml\noptimizer: {learing_rate: 1}\n",
            [],
            "own.yaml: optimizer.learing_rate: unknown key; did you mean learning_rate?",
        ),
        (
            "extends: recipe.yaml\nduration: {steps: 3}\n",
            [],
            "own.yaml: duration: give epochs or steps, not both: set the other to null",
        ),
        (
            "extends: bad_preset.yaml\n",
            ["preset=bad"],
            "own.yaml extends bad_preset.yaml with preset bad: batch.retain: expected a number of at least 1, found 0",
        ),
        (
            SPACE + "presets: {bad: {batch.retain: 0}}\n",
            ["preset=bad"],
            "own.yaml with preset bad: batch.retain: expected a number of at least 1, found 0",
        ),
        (
            "extends: bad_preset.yaml\n",
            ["preset=bad", "batch.retain=-1"],
            "own.yaml with --set batch.retain=-1: batch.retain: expected a number of at least 1, found -1",
        ),
        (
            "extends: bad_space.yaml\n",
            [],
            "own.yaml extends bad_space.yaml: space.batch.retain: expected a number of at least 1, found 0",
        ),
        (
            "extends: bad_method.yaml\n",
            [],
            "own.yaml extends bad_method.yaml: space: with method.name 'ft': method.forget_objective: ft does not",
        ),
    ],
)
def test_a_mistake_names_the_file_that_it_is_in(
    files: Path, text: str, overrides: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in {
        "loop": "extends: own.yaml\n",
        "text": "a: b: c\n",
        "wrong": SPACE + "optimizer: {learing_rate: 1}\n",
        "again": "extends: wrong.yaml\noptimizer: {momentum: 0.1}\n",
        "bad_preset": SPACE + "presets: {bad: {batch.retain: 0}}\n",
        "bad_space": "space: {batch.retain: {grid: [0, 1]}}\n",
        "bad_method": "method: {forget_objective: npo}\nspace: {method.name: {grid: [hamu-q, ft]}}\n",
    }.items():
        (files / f"{name}.yaml").write_text(content)
    monkeypatch.chdir(files)
    (files / "own.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_sweep("own.yaml", overrides)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(line)


def test_a_loop_through_other_spellings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("extends: sub/../b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: sub/../sub/../a.yaml\n")
    with pytest.raises(ConfigError, match=r"extends this file itself; remove one of the two$"):
        load_run(tmp_path / "a.yaml")
