"""No worker of a sharded model holds the whole, while it is read or written: in real process groups."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import save_file
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.given import Given, built
from hamu_ray.engine.files.tensors import load_tensors, save_tensors, take_part
from hamu_ray.engine.placement import build_device, placed
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.state import whole_state
from hamu_ray.pairing.group import Alone, Distributed, Group
from hamu_ray.tasks.task import Start
from tests.made_texts import LORA, text_run, write_checkpoint
from tests.memory import private_peak_of
from tests.ports import free_ports

SHARDS = 2
SIZES = {"hidden_size": 512, "layers": 4, "heads": 4}
WHOLE = 54_000_000
"""Bytes of the model in float32, at least."""

ADAPTER: dict[str, Any] = {"model": {"lora": LORA}, "training": {"parameters": "lora"}}
HALF: dict[str, Any] = {"model": {"lora": LORA, "precision": "bfloat16"}, "training": {"parameters": "lora"}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "checkpoint": ("float32", {}),
    "stored": ("float32", {}),
    "checkpoint in half precision": ("float16", {}),
    "base of an adapter": ("float16", ADAPTER),
    "base in half precision": ("float16", HALF),
}
"""The dtype of the files, and sections of the run."""


def model_of(case: str, folder: Path, resident: Resident, group: Group) -> nn.Module:
    """Return a model as a run begins with it."""
    dtype, sections = CASES[case]
    name = str(folder / dtype)
    model = {"name": name, **sections.get("model", {})}
    run: RunConfig = text_run(folder / "corpus", **{**sections, "model": model})
    task, shards = resident.task(run), group.split(group.size)[1]
    source: Given = folder / "stored.safetensors" if case == "stored" else Start("model.name", name)
    made = built(task, 0, source, device=build_device(task, shards))
    return placed(task.unlearner(made, 0), task, shards)


def load(rank: int, port: int, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=SHARDS)
    torch.set_num_threads(1)
    resident, group = Resident(folder / str(rank), torch.device("cpu")), Distributed()
    peaks: dict[str, int] = {}
    written: dict[str, int] = {}
    for case in CASES:
        model = model_of(case, folder, resident, group)  # imports as well, which the peaks are without
        whole = whole_state(model.requires_grad_(True), group)
        write = partial(save_tensors, folder / f"{case}.safetensors", whole)
        written[case] = private_peak_of(write if rank == 0 else partial(take_part, whole))
        del model, whole, write
        peaks[case] = private_peak_of(partial(model_of, case, folder, resident, group))
    (folder / f"{rank}.json").write_text(json.dumps({"loaded": peaks, "written": written}))
    os._exit(0)  # gloo's threads may abort the interpreter while it ends (pytorch/pytorch#179291)


@pytest.fixture(scope="module")
def loaded(text_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the peaks of each worker and with the models as a whole."""
    folder = tmp_path_factory.mktemp("loaded")
    (folder / "corpus").symlink_to(text_corpus)
    for dtype in {dtype for dtype, _ in CASES.values()}:
        write_checkpoint(folder / dtype, text_corpus, dtype=getattr(torch, dtype), **SIZES)
    resident = Resident(folder / "alone", torch.device("cpu"))
    other = {
        name: 2 * value
        for name, value in model_of("checkpoint", folder, resident, Alone()).state_dict().items()
    }
    save_file(
        {name: value for name, value in other.items() if name != "lm_head.weight"},
        folder / "stored.safetensors",
    )
    mp.spawn(load, args=(free_ports(1)[0], folder), nprocs=SHARDS)
    return folder


def peaks_of(loaded: Path, what: str, case: str) -> list[int]:
    return [json.loads((loaded / f"{rank}.json").read_text())[what][case] for rank in range(SHARDS)]


@pytest.mark.parametrize("case", CASES)
def test_a_worker_never_holds_the_whole_model(case: str, loaded: Path) -> None:
    """Its shard in float32 is half of it; pages of the files, which all workers of a host share, are not counted."""
    peaks = peaks_of(loaded, "loaded", case)
    assert max(peaks) < 0.7 * WHOLE, peaks


@pytest.mark.parametrize("case", CASES)
def test_nor_does_the_one_that_writes_it(case: str, loaded: Path) -> None:
    """One tensor after the other; what the allocator keeps of those counts, too."""
    peaks = peaks_of(loaded, "written", case)
    assert max(peaks) < 0.7 * WHOLE, peaks


@pytest.mark.parametrize("case", CASES)
def test_what_shards_read_is_what_one_process_reads(case: str, loaded: Path) -> None:
    """The same bits and dtypes, of new adapters too."""
    model = model_of(case, loaded, Resident(loaded / "alone", torch.device("cpu")), Alone())
    expected = whole_state(model.requires_grad_(True), Alone())
    torch.testing.assert_close(load_tensors(loaded / f"{case}.safetensors")[0], expected, rtol=0, atol=0)
