"""Names of a model's layers are checked before anything is loaded, on the model without weights."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.footprint.named_parts import check_named_parts, named_part_variants
from hamu_ray.pairing.support import trainable
from hamu_ray.tasks.registry import outline_of
from tests.made_texts import LORA, text_run
from tests.runs import small_run

TINY = {"hidden_size": 32, "layers": 3, "heads": 2}


def texts(text_corpus: Path, **sections: Any) -> RunConfig:
    return text_run(text_corpus, model={**TINY, **sections.pop("model", {})}, **sections)


@pytest.mark.parametrize("lora", [None, LORA])
def test_blocks_of_rmu_and_names_of_a_language_model(text_corpus: Path, lora: Any) -> None:
    model = {"lora": lora}
    for layer in (2, "early"):
        check_named_parts([texts(text_corpus, model=model, method={"name": "rmu", "layer": layer})])
    beyond = texts(text_corpus, model=model, method={"name": "rmu", "layer": 3})
    with pytest.raises(ConfigError, match=r"^x: method\.layer: must be below 3, .* found 3"):
        check_named_parts([beyond], "x")
    support = {"kind": "layers", "names": ["*layers.1", "*layers.7"]}
    with pytest.raises(ConfigError, match=r"^support\.names: '\*layers\.7' names no trainable parameter"):
        check_named_parts([texts(text_corpus, model=model, support=support)])


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_model_without_weights_has_the_names_of_the_one_that_is_unlearned(
    text_corpus: Path, tmp_path: Path, lora: Any
) -> None:
    run = texts(text_corpus, model={"lora": lora})
    task = Resident(tmp_path, torch.device("cpu")).task(run)
    real = task.unlearner(task.build_model(0), 0)
    assert [name for name, _ in trainable(outline_of(run).build(True))] == [
        name for name, _ in trainable(real)
    ]


def test_every_name_of_a_sweep_is_checked(tmp_path: Path) -> None:
    names = [["blocks.8"], ["head", "blocks.99"]]
    sweep = SweepConfig.model_validate(
        {
            "storage": {"path": str(tmp_path)},
            "method": {"name": "ft"},
            "support": {"kind": "layers", "names": names[0]},
            "space": {"optimizer.learning_rate": {"grid": [0.1, 0.01]}},
        }
    )
    check_named_parts(named_part_variants(sweep))
    wrong = sweep.model_copy(update={"support": sweep.support.model_copy(update={"names": tuple(names[1])})})
    with pytest.raises(ConfigError, match=r"'blocks\.99' names no trainable parameter"):
        check_named_parts(named_part_variants(wrong))


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_the_command_ends_before_it_trains(tmp_path: Path, options: tuple[str, ...]) -> None:
    path, storage = tmp_path / "run.yaml", tmp_path / "storage"
    path.write_text(yaml.safe_dump(small_run(storage, support={"kind": "layers", "names": ["heads"]})))
    command = [sys.executable, "-m", "hamu_ray.unlearn", str(path), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert f"{path}: support.names: 'heads' names no trainable parameter" in ended.stderr
    assert not (storage / "models").exists()
