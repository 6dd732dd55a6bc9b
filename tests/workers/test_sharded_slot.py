"""Sharded runs through Ray: one after the other in the same workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Report, Status, Verdict
from hamu_ray.workers.messages import Job
from hamu_ray.workers.slot import follow, start_slot
from tests.made_texts import LORA, text_run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

SHARDED = {"count": 2, "shards": 2, "cpus": 0.5}


def run_of(corpus: Path, workers: dict[str, Any], **sections: Any) -> RunConfig:
    data = {"generated": 2, "new_tokens": 3}
    training = {"optimizer": {"name": "sgd", "learning_rate": 0.05}, **sections.pop("training", {})}
    return text_run(corpus, workers=workers, data=data, method={"name": "npo"}, training=training, **sections)


@pytest.fixture
def slot(cluster: None, text_corpus: Path, tmp_path: Path) -> Iterator[Any]:
    import ray

    slot = start_slot(run_of(text_corpus, SHARDED).workers, str(tmp_path), "sharded")
    yield slot
    ray.get(slot.close.remote())
    ray.kill(slot)


def test_the_runs_of_a_slot_give_the_numbers_of_one_process(
    slot: Any, text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    """Base models are trained sharded, too; the third run needs a base that the second has sharded."""
    adapters = {
        "model": {"lora": LORA, "name": str(text_checkpoint)},
        "training": {"parameters": "lora"},
    }
    resident = Resident(tmp_path, torch.device("cpu"))

    def ignored(report: Report) -> Verdict:
        return Verdict.GO_ON

    for name, sections in {"all": {}, "lora": adapters, "lora again": adapters}.items():
        job = Job(name, run_of(text_corpus, SHARDED, **sections), str(tmp_path / name), attempts=1)
        ended = follow(job, slot, lambda reports: None)
        assert isinstance(ended, Outcome), ended
        assert ended.status is Status.FINISHED
        alone = unlearn(
            run_of(text_corpus, {"count": 1}, **sections),
            resident,
            Alone(),
            tmp_path / f"{name} alone",
            ignored,
        )
        assert ended.measures == pytest.approx(alone.measures, rel=1e-3, abs=1e-5, nan_ok=True)
        one, other = (load_file(tmp_path / folder / MODEL_FILE) for folder in (name, f"{name} alone"))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    elsewhere = Resident(tmp_path / "elsewhere", torch.device("cpu"))
    run = run_of(text_corpus, {"count": 1})
    (one, _), (other, _) = (
        base_models(run, held.task(run), Alone(), ignored, held.models) for held in (resident, elsewhere)
    )
    torch.testing.assert_close(load_file(one.path), load_file(other.path), rtol=1e-5, atol=1e-5)
