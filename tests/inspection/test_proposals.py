"""`doctor MODEL DATA`: what it finds, and that the search space that it writes runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sources.files import load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.inspection.inspect import Inspection, write_space
from hamu_ray.inspection.machine import Gpu, Machine
from hamu_ray.pairing.group import Alone
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.results.outcome import Outcome, Status, Verdict
from tests.made_checkpoints import ANIMALS, write_animals, write_vit
from tests.made_texts import pairs, write_checkpoint, write_corpus

ROOT = Path(__file__).parents[2]
SHORT = ["search.samples=1", "duration.steps=2", "training.epochs=1", "workers.count=1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Images, texts, and a tiny model for each."""
    import datasets.config

    folder = tmp_path_factory.mktemp("inspected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "prepared")
        write_animals(folder / "animals")
        write_vit(folder / "vit")
        write_vit(folder / "base", ("a", "b"), seed=1, steps=0)
        write_corpus(folder / "tofu")
        write_checkpoint(folder / "llama", folder / "tofu")
        write_adapter(folder / "adapter", folder / "llama")
        yield folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def write_adapter(folder: Path, base: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    network: Any = AutoModelForCausalLM.from_pretrained(base)
    described = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
    adapted: Any = get_peft_model(network, described)
    adapted.save_pretrained(folder)


def write_table(folder: Path, rows: Any, suffix: str = ".jsonl") -> Path:
    folder.mkdir()
    table, file = pd.DataFrame(rows), folder / f"train{suffix}"
    match suffix:
        case ".jsonl":
            table.to_json(file, orient="records", lines=True)
        case ".csv":
            table.to_csv(file, index=False)
        case _:
            table.to_parquet(file)
    return folder


def inspected(model: Path | str, data: Path | str | None, **options: Any) -> tuple[Inspection, list[Finding]]:
    request = {name: options.pop(name) for name in ("forget", "ids") if name in options}
    inspection = Inspection(str(model), None if data is None else str(data), **options)
    return inspection, list(inspection.findings(**request))


def written(inspection: Inspection, *overrides: str) -> SweepConfig:
    assert inspection.text is not None
    write_space("space.yaml", inspection.text)
    return load_sweep("space.yaml", overrides)


def problems(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings if finding.is_problem]


def one_trial(config: SweepConfig, folder: Path) -> Outcome:
    """Run the first trial of a search space, with its original and its reference."""
    run = config.resolve(config.example(next(config.cells())))
    resident = Resident(folder, torch.device("cpu"))
    return unlearn(run, resident, Alone(), folder / "run", lambda _: Verdict.GO_ON)


def test_a_vit_and_a_folder_of_images(made: Path, tmp_path: Path) -> None:
    inspection, findings = inspected(
        made / "vit", made / "animals", forget="label=bee", base=str(made / "base")
    )
    assert problems(findings) == []
    lines = [str(finding) for finding in findings]
    assert "classes  3: cat, ant, bee" in lines
    assert "labels   3 classes by label: 6 to 6 training images each" in lines
    assert "         forget     6 images" in lines
    config = written(inspection, *SHORT)
    assert (config.forget.kind, config.forget.label) == ("class", "bee")  # type: ignore[union-attr]
    assert config.reference.new_head
    ended = one_trial(config, tmp_path / "storage")
    assert ended.status is Status.FINISHED
    assert (tmp_path / "storage" / "run" / "preprocessor_config.json").is_file()


def test_the_space_has_absolute_paths(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    (made / "rows.txt").write_text("0\n1\n")
    inspection, findings = inspected("vit", "animals", ids="rows.txt", base="base")
    assert problems(findings) == []
    space = yaml.safe_load(str(inspection.text))
    found = (space["model"]["name"], space["original"]["path"], space["reference"]["start"])
    assert found == (str(made / "vit"), str(made / "vit"), str(made / "base"))
    assert space["forget"]["path"] == str(made / "rows.txt")


def test_a_base_of_a_built_in_model_is_a_problem(made: Path) -> None:
    _, findings = inspected("resnet20", made / "animals", base="base")
    (line,) = problems(findings)
    assert line.startswith("base     problem: base is not used: resnet20 is trained from random weights;")


def test_an_adapter_and_tofu(made: Path, tmp_path: Path) -> None:
    inspection, findings = inspected(made / "adapter", made / "tofu")
    assert [line.partition(":")[0] for line in problems(findings)] == ["lengths  problem"]
    assert f"adapter  LORA of rank 2 on {made / 'llama'}" in map(str, findings)
    config = written(inspection, *SHORT)
    assert (config.model.name, config.reference.start) == (str(made / "llama"), str(made / "llama"))
    assert (config.data.subset, config.data.max_length) == ("forget_01", 64)  # type: ignore[union-attr]
    ended = one_trial(config, tmp_path / "storage")
    assert ended.status is Status.FINISHED
    assert (tmp_path / "storage" / "run" / "adapter_config.json").is_file()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_questions_and_answers_in_columns(suffix: str, made: Path, tmp_path: Path) -> None:
    rows = [{"uid": f"u{number}", **row} for number, row in enumerate(pairs(30, "Ada"))]
    data = write_table(tmp_path / "mine", rows, suffix)
    (tmp_path / "ids.txt").write_text("u3\nu4\n")
    inspection, findings = inspected(made / "llama", data, ids="ids.txt")
    config = written(inspection)
    assert (config.data.question_column, config.data.answer_column) == ("question", "answer")  # type: ignore[union-attr]
    assert (config.forget.kind, config.forget.column) == ("ids", "uid")  # type: ignore[union-attr]
    assert "         forget     2 texts" in " ".join(map(str, findings))


@pytest.mark.parametrize("kept", ["train", "retain"])
def test_a_file_of_what_is_to_be_forgotten_is_the_forget_set(kept: str, made: Path, tmp_path: Path) -> None:
    data = write_table(tmp_path / "mine", pairs(30, "Ada"))
    (data / "train.jsonl").rename(data / f"{kept}.jsonl")
    pd.DataFrame(pairs(4, "Bob")).to_json(data / "forget.jsonl", orient="records", lines=True)
    inspection, findings = inspected(made / "llama", data)
    lines = "\n".join(map(str, findings))
    assert f"{kept} 30" in lines
    assert "forget 4" in lines
    assert "         forget     4 texts" in lines
    config = written(inspection)
    assert (config.forget.kind, config.data.train_split) == ("split", kept)  # type: ignore[union-attr]


def test_classes_that_disagree_ask_for_a_new_head(made: Path) -> None:
    inspection, findings = inspected(made / "base", made / "animals")
    (line,) = problems(findings)
    assert line.startswith(
        f"classes  problem: model.name: {made / 'base'} has the classes a, b (2), the data set ant,"
    )
    config = written(inspection)
    assert (config.model.new_head, config.original.source) == (True, "train")  # type: ignore[union-attr]
    assert config.forget.label == ANIMALS[0]  # type: ignore[union-attr]


def test_images_of_different_sizes_are_resized(made: Path, tmp_path: Path) -> None:
    from PIL import Image

    data = shutil.copytree(made / "animals", tmp_path / "uneven")
    Image.new("RGB", (30, 20)).save(data / "train" / "ant" / "wide.png")
    inspection, findings = inspected("resnet20", data)
    assert "images   of different sizes: all are resized to 32x32" in map(str, findings)
    assert written(inspection).data.image_size == 32  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "data", "start"),
    [
        ("vit", "tofu", "model    problem: {0} is a model of images, {1} has texts;"),
        ("vit", "nowhere", "input    problem: data: {1}: no such folder; check it"),
        ("nowhere", "tofu", "input    problem: model: {0}: no such folder;"),
        ("vit", "animals/train/ant/0.png", "input    problem: data: {1}: a file; put it into a folder"),
    ],
)
def test_what_cannot_be_read_is_one_problem(model: str, data: str, start: str, made: Path) -> None:
    inspection, findings = inspected(made / model, made / data)
    (line,) = problems(findings)
    assert line.startswith(start.format(made / model, made / data))
    assert "\n" not in line
    assert inspection.text is None


def test_a_damaged_image_is_one_problem(made: Path, tmp_path: Path) -> None:
    data = shutil.copytree(made / "animals", tmp_path / "damaged")
    (data / "train" / "ant" / "1.png").write_bytes(b"no image")
    _, findings = inspected("resnet20", data)
    (line,) = problems(findings)
    assert line.startswith(f"input    problem: data: image 1 of {data} (train) cannot be read: ")


def test_requests_that_are_no_yaml_or_no_text(made: Path, tmp_path: Path) -> None:
    inspection, _ = inspected(made / "vit", made / "animals", forget="file=[1")
    assert "equals: '[1'" in str(inspection.text)
    (tmp_path / "ids").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        ConfigError, match=r"--forget-ids ids: not a text file; write one identifier per line"
    ):
        inspected(made / "vit", made / "animals", ids="ids")


def test_a_hub_that_is_not_reached_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamu_ray.tasks.models.hub.hub_answers", lambda: False)
    _, findings = inspected("someone/gated-model", None)
    assert problems(findings) == [
        "input    problem: model: the hub has no config.json of someone/gated-model, or is unreachable; check the name"
    ]


def test_a_request_that_selects_nothing_is_a_problem_with_a_space_to_correct(made: Path) -> None:
    inspection, findings = inspected(made / "vit", made / "animals", forget="label=dog")
    (line,) = problems(findings)
    assert line.startswith("space    problem: does not run yet: forget.label: there is no class 'dog';")
    assert inspection.text is not None
    with pytest.raises(ConfigError, match=r"--forget label: give COLUMN=VALUE"):
        inspected(made / "vit", made / "animals", forget="label")


def test_a_class_of_the_built_in_digits_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamu_ray.tasks.models.hub.hub_answers", lambda: False)
    inspection, findings = inspected("resnet20", "digits", forget="label=3")
    assert problems(findings) == []
    config = written(inspection)
    assert (config.forget.kind, config.forget.label) == ("class", "3")  # type: ignore[union-attr]


def test_a_gpu_is_shared_by_both_objectives(made: Path) -> None:
    inspection = Inspection(str(made / "vit"), str(made / "animals"))
    inspection.machine = Machine(8, 2**35, [Gpu("H100", 80 * 2**30)])
    lines = list(map(str, inspection.findings()))
    assert "gpu      H100 (80 GiB)" in lines
    assert written(inspection).workers.gpus == 0.5


def test_the_command_writes_a_file_once_and_it_passes_the_dry_run(made: Path, tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(made / "prepared")}
        line = [sys.executable, "-m", *arguments]
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    doctor = ["hamu_ray.doctor", str(made / "vit"), str(made / "animals"), "--output", "my.yaml"]
    first = command(*doctor)
    assert (first.returncode, first.stderr) == (0, "")
    assert "space    written to my.yaml; next:" in first.stdout
    again = command(*doctor)
    assert (again.returncode, again.stderr) == (
        2,
        "error: --output my.yaml: the file exists; give another name\n",
    )
    dry = command("hamu_ray.tune", "my.yaml", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    for given, missing in (((), "MODEL and DATA"), (("resnet20",), "DATA")):
        alone = command("hamu_ray.doctor", *given, "--output", "x.yaml")
        assert (alone.returncode, alone.stderr) == (2, f"error: --output: requires {missing}\n")
