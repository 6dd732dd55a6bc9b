"""`select --push`: what a repository on the hub contains, on a local server with the hub's API."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_stub import Hub
from huggingface_hub import ModelCard

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import TRIALS, write_record
from hamu_ray.results.outcome import Verdict
from hamu_ray.results.trial import TrialRecord
from tests.made_checkpoints import write_animals, write_vit
from tests.made_texts import LORA, write_checkpoint, write_corpus

ROOT = Path(__file__).parents[2]
SHORT: dict[str, Any] = {
    "training": {"epochs": 1, "batch_size": 9, "select": "last"},
    "batch": {"retain": 6, "forget": 6},
    "duration": {"steps": 1},
    "evaluation": {"every_steps": 100},
    "workers": {"count": 1},
    "space": {"optimizer.learning_rate": {"loguniform": [1e-3, 1e-1]}},
}


def write_sweep(folder: Path, **sections: Any) -> Path:
    """Write a sweep of one trial, which is really run; return its folder."""
    config = SweepConfig.model_validate({**SHORT, "name": "own", **sections})
    sweep = folder / "own-20260101-120000"
    place, parameters = sweep / TRIALS / "0000", {"optimizer.learning_rate": 0.01}
    run = config.resolve(parameters)
    ended = unlearn(run, Resident(folder, torch.device("cpu")), Alone(), place, lambda _: Verdict.GO_ON)
    (sweep / "sweep.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json", by_alias=True, exclude_none=True))
    )
    (sweep / "front.png").write_bytes(b"a picture")
    record = TrialRecord(
        "0000",
        ended.status,
        parameters,
        run.model_dump(mode="json"),
        {**ended.measures, "forget_quality": 0.75, "retain_utility": 0.875, "avg_gap": math.nan},
        reason=ended.reason,
        model_path=str(place / "model.safetensors"),
        steps=ended.steps,
    )
    write_record(sweep, record)
    return sweep


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import datasets.config

    folder = tmp_path_factory.mktemp("pushed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "prepared")
        model = str(write_vit(folder / "private_name" / "vit"))
        data = {"name": "images", "path": str(write_animals(folder / "animals"))}
        yield write_sweep(
            folder,
            data=data,
            forget={"kind": "class", "label": "bee"},
            model={"name": model},
            original={"path": model},
            reference={"source": "none"},
            search={"objectives": [{"metric": "forget_accuracy_quality"}, {"metric": "retain_utility"}]},
        )


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pushed-texts")
    corpus = write_corpus(folder / "tofu")
    model = str(write_checkpoint(folder / "llama", corpus))
    return write_sweep(
        folder,
        data={"name": "tofu", "path": str(corpus), "subset": "forget_01", "max_length": 64},
        model={"name": model, "lora": LORA},
        original={"path": model},
        reference={"source": "none"},
    )


def select(
    sweep: Path, *arguments: str, endpoint: str = "", token: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(sweep / "home")}
    environment |= {"HF_ENDPOINT": endpoint} if endpoint else {}
    environment |= {"HF_TOKEN": token} if token else {}
    line = [sys.executable, "-m", "hamu_ray.select", str(sweep), *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def test_a_dry_run_writes_what_would_be_pushed(images: Path) -> None:
    ended = select(images, "--push", "acme/animals-without-bees", "--dry-run")
    assert (ended.returncode, ended.stderr) == (0, "")
    place = images / "hub" / "acme--animals-without-bees"
    names = ["README.md", "config.json", "front.png", "model.safetensors", "preprocessor_config.json"]
    assert sorted(path.name for path in place.iterdir()) == names
    card = ModelCard((place / "README.md").read_text())
    data = card.data.to_dict()
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "image-classification")
    assert data["tags"][0] == "machine-unlearning"
    assert {result.metric_type: result.metric_value for result in card.data.eval_results}[
        "retain_utility"
    ] == 0.875
    assert "avg_gap" not in {result.metric_type for result in card.data.eval_results}
    assert "base_model" not in data, "a folder is not a model on the hub"
    assert str(images.parent) not in card.content, "no local paths"
    assert "![The front](front.png)" in card.text
    assert 'from_pretrained("acme/animals-without-bees")' in card.text
    from transformers import AutoModelForImageClassification

    assert AutoModelForImageClassification.from_pretrained(place).num_labels == 3


def test_a_push_is_one_commit_in_a_private_repository(texts: Path) -> None:
    with Hub() as hub:
        ended = select(texts, "--push", "acme/forgotten", endpoint=hub.url, token=" hf_secret\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == f"pushed   {hub.url}/acme/forgotten"
    (asked,) = hub.repositories
    assert (asked["name"], asked["organization"], asked["visibility"]) == ("forgotten", "acme", "private")
    (files,) = hub.commits
    wanted = {"README.md", "adapter_config.json", "adapter_model.safetensors", "front.png", "tokenizer.json"}
    assert wanted <= set(files)
    assert not {"model.safetensors", "forget.csv", "run.yaml", "outcome.json"} & set(files)
    assert hub.cards == [files["README.md"].decode()]
    assert ModelCard(hub.cards[0]).data.library_name == "peft"
    assert hub.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in ended.stdout


@pytest.mark.parametrize(
    ("repo", "refuses", "token", "line"),
    [
        (
            "acme/x",
            403,
            "hf_x",
            "the hub refuses (403): You don't have the rights to create a model in acme; check",
        ),
        ("acme/x", 0, "", "set HF_TOKEN to a token with write access; --dry-run needs none"),
        ("acme/x", 0, "hf_x\r\nhf_y", "HF_TOKEN has characters that no token has; copy it again"),
        ("acme", 0, "hf_x", "give OWNER/NAME"),
        ("a/b/c", 0, "hf_x", "Repo id must be in the form"),
    ],
)
def test_a_refusal_is_one_line(repo: str, refuses: int, token: str, line: str, images: Path) -> None:
    with Hub(refuses=refuses) as hub:
        ended = select(images, "--push", repo, endpoint=hub.url, token=token)
    assert ended.stderr.startswith(f"error: --push {repo}: {line}")
    assert (ended.stderr.count("\n"), ended.returncode) == (1, 2)
    assert "hf_" not in ended.stderr
    assert hub.commits == []


def test_a_hub_that_cannot_be_reached_is_one_line(images: Path) -> None:
    ended = select(images, "--push", "acme/x", endpoint="http://127.0.0.1:9", token="hf_x")
    assert ended.stderr == (
        "error: --push acme/x: the hub (http://127.0.0.1:9) cannot be reached; try again with a network\n"
    )
    assert ended.returncode == 2


def test_a_dry_run_needs_a_push(images: Path) -> None:
    ended = select(images, "--dry-run")
    assert (ended.returncode, ended.stderr.splitlines()[-1][-33:]) == (2, "error: --dry-run: requires --push")
