"""Sharded models in real process groups: the numbers of one process, with a part of its memory."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from cheap_runs import Done, ReportList, done
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from hamu_ray.config.run import RunConfig
from hamu_ray.engine import loop
from hamu_ray.engine.files.tensors import load_tensors
from hamu_ray.engine.placement import placed
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.methods import get_method
from hamu_ray.pairing.group import Distributed
from tests.made_texts import LORA, text_run
from tests.ports import free_ports

EXACT = {"name": "hamu-u", "constraint_fraction": 0.5, "constraint_split": "exact"}
ADAPTER = {"model": {"lora": LORA}}
CASES: dict[str, dict[str, Any]] = {
    "hamu-u, all, sgd": {"method": EXACT, "optimizer": {"learning_rate": 0.05, "momentum": 0.9}},
    "hamu-u, lora, adamw": {
        "method": EXACT,
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        **ADAPTER,
    },
    "npo, all, adamw": {"method": {"name": "npo"}, "optimizer": {"name": "adamw", "learning_rate": 0.001}},
    "npo, lora, sgd": {
        "method": {"name": "npo"},
        "optimizer": {"learning_rate": 0.5},
        "batch": {"retain": 7, "forget": 3, "micro": 1},
        **ADAPTER,
    },
    "dpo, lora, sgd": {
        "method": {"name": "dpo"},
        "optimizer": {"learning_rate": 0.5},
        "batch": {"retain": 7, "forget": 3, "micro": 1},
        **ADAPTER,
    },
    "l1-sparse, all, sgd": {
        "method": {"name": "l1-sparse", "l1_penalty": 0.01},
        "optimizer": {"learning_rate": 0.05},
    },
}
"""Those of NPO and DPO with adapters have fewer micro-batches, or none, on some shards."""

SHAPES = ((2, 2), (4, 2), (4, 4))
"""Numbers of workers and of shards: both objectives in turn, one objective per copy, and shards without elements."""

INTERRUPTED = {(2, 2): "hamu-u, all, sgd", (4, 2): "hamu-u, lora, adamw"}
"""Runs that a group begins. The first is finished by the group of the last shape, the second by one process."""


def run_of(case: str, corpus: Path, shape: tuple[int, int] = (1, 1), **sections: Any) -> RunConfig:
    workers = dict(zip(("count", "shards"), shape, strict=True))
    data = {"generated": 2, "new_tokens": 3}
    return text_run(corpus, **{"workers": workers, "data": data, **CASES[case], **sections})


def begun(case: str, corpus: Path, shape: tuple[int, int] = (1, 1)) -> RunConfig:
    """A run that writes a checkpoint after every step."""
    return run_of(case, corpus, shape, checkpoint={"every_steps": 1}, evaluation={"enabled": False})


def held(model: nn.Module) -> int:
    """Count the elements of all parameters that this process holds."""
    parts = (p.to_local() if isinstance(p, DTensor) else p for p in model.parameters())
    return sum(part.numel() for part in parts)


def in_groups(rank: int, ports: list[int], corpus: Path, storage: Path, folder: Path) -> None:
    """Run as a worker of every group that is large enough, one after the other."""
    for port, shape in zip(ports, SHAPES, strict=True):
        if rank < shape[0]:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            dist.init_process_group("gloo", rank=rank, world_size=shape[0])
            found = in_group(shape, corpus, storage, folder)
            (folder / f"{shape[0]}x{shape[1]}-{rank}.json").write_text(json.dumps(found))
            dist.destroy_process_group()
    os._exit(0)  # gloo's threads may abort the interpreter while it ends (pytorch/pytorch#179291)


def in_group(shape: tuple[int, int], corpus: Path, storage: Path, folder: Path) -> dict[str, Any]:
    resident, group = Resident(storage, torch.device("cpu")), Distributed()
    parameters: list[int] = []

    class Counted(PairedStep):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            parameters.append(held(self.model))

    loop.PairedStep = Counted  # type: ignore[misc]
    found: dict[str, Any] = {}
    for case in CASES:
        recorder = ReportList()
        outcome = unlearn(
            run_of(case, corpus, shape), resident, group, folder / f"{shape[0]}x{shape[1]}" / case, recorder
        )
        history, measures = recorder.history, dict(outcome.measures)
        found[case] = {"held": parameters[-1], "history": history, "measures": measures}
    if shape in INTERRUPTED:
        run = begun(INTERRUPTED[shape], corpus, shape)
        unlearn(run, resident, group, folder / run.optimizer.name, ReportList(enough_at=3))
    else:
        run = begun(INTERRUPTED[2, 2], corpus, shape)
        outcome = unlearn(run, resident, group, folder / run.optimizer.name, ReportList())
        found["resumed_at"] = outcome.resumed_at
    try:
        placed(nn.Linear(2, 2), resident.task(run), group.split(shape[1])[1])
    except ValueError as error:
        found["refused"] = str(error)
    return found


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return Resident(tmp_path_factory.mktemp("sharded-storage"), torch.device("cpu"))


@pytest.fixture(scope="module")
def alone(texts: Resident, text_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Each case in one process."""
    folder = tmp_path_factory.mktemp("alone")
    return {case: done(run_of(case, text_corpus), texts, folder / case) for case in CASES}


@pytest.fixture(scope="module")
def groups(
    alone: object, texts: Resident, text_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What the workers of all groups found, and their runs."""
    folder = tmp_path_factory.mktemp("groups")
    arguments = (free_ports(len(SHAPES)), text_corpus, texts.storage, folder)
    mp.spawn(in_groups, args=arguments, nprocs=max(count for count, _ in SHAPES))
    return folder


def found_by(groups: Path, shape: tuple[int, int]) -> list[dict[str, Any]]:
    files = (groups / f"{shape[0]}x{shape[1]}-{rank}.json" for rank in range(shape[0]))
    return [json.loads(file.read_text()) for file in files]


def same_weights(folder: Path, expected: Done) -> None:
    weights = load_tensors(folder / "model.safetensors")[0]
    torch.testing.assert_close(weights, expected.weights, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_shards_give_the_numbers_of_one_process(
    shape: tuple[int, int], case: str, alone: dict[str, Done], groups: Path
) -> None:
    """Including generated answers, and the outputs of the original."""
    expected, found = alone[case], [rank[case] for rank in found_by(groups, shape)]
    history = found[0]["history"]
    names = ["step_retain_loss", "retain_norm_before_clipping"]
    if get_method(CASES[case]["method"]["name"]).forget is not None:
        names += ["step_forget_loss", "actual_forget_change"]
    for name in names:
        exact = expected.recorder.history[name]
        assert history[name] == pytest.approx(exact, rel=1e-5, abs=1e-6, nan_ok=True), name
    same_weights(groups / f"{shape[0]}x{shape[1]}" / case, expected)
    for rank in found:
        assert rank["measures"] == pytest.approx(expected.outcome.measures, rel=1e-3, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_worker_holds_its_shard_of_the_parameters(
    shape: tuple[int, int], texts: Resident, text_corpus: Path, groups: Path
) -> None:
    """Those of a frozen base, too."""
    for case in CASES:
        run = run_of(case, text_corpus)
        task = texts.task(run)
        whole = held(task.unlearner(task.build_model(0), 0))
        parts = [rank[case]["held"] for rank in found_by(groups, shape)]
        assert sum(parts) == whole * shape[0] // shape[1]
        assert max(parts) < 1.1 * whole / shape[1]


def test_a_run_is_resumed_on_another_number_of_shards(
    alone: dict[str, Done], texts: Resident, text_corpus: Path, groups: Path
) -> None:
    assert {rank["resumed_at"] for rank in found_by(groups, (4, 4))} == {3}
    same_weights(groups / "sgd", alone[INTERRUPTED[2, 2]])
    resumed = done(begun(INTERRUPTED[4, 2], text_corpus), texts, groups / "adamw")
    assert resumed.outcome.resumed_at == 3
    same_weights(groups / "adamw", alone[INTERRUPTED[4, 2]])


@pytest.mark.parametrize("case", ["hamu-u, all, sgd", "npo, lora, sgd"])
def test_other_programs_load_what_shards_leave(
    case: str, groups: Path, text_corpus: Path, alone: dict[str, Done]
) -> None:
    """The same files as one process leaves, apart from the time and place of the run."""
    folder = groups / "4x2" / case
    names = {path.name for path in alone[case].folder.iterdir()}
    assert {path.name for path in folder.iterdir()} == names
    tokens = torch.arange(5, 25).view(2, 10)
    one, other = (
        AutoModelForCausalLM.from_pretrained(path)(input_ids=tokens).logits
        for path in (folder, alone[case].folder)
    )
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_model_without_layers_is_refused(groups: Path) -> None:
    messages = {rank["refused"] for rank in found_by(groups, (4, 2))}
    assert messages == {
        "workers.shards: Linear cannot be sharded: it has no list of layers that are gathered one by one; set it to 1"
    }
