"""Models and checkpoints as safetensors files, written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hamu_ray.engine.step import PairedStep
from hamu_ray.pairing.group import Group

KEEP = 2
"""Checkpoints that are kept: the newest, and the one before in case the newest is damaged."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever dies meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, in their standard memory order; tensors that share memory are written once each."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata=dict(metadata or {})))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors and metadata."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@torch.no_grad()
def load_model(model: nn.Module, path: Path) -> None:
    """Load a model's state in place; parameters keep their memory order and device.

    Raises:
        ValueError: The file's tensors are not the model's: names the file and the first difference.
    """
    tensors, _ = load_tensors(path)
    state = model.state_dict()
    strange = sorted(set(tensors) ^ set(state))
    if strange:
        where = "the file lacks" if strange[0] in state else "the model has no"
        raise ValueError(f"{path}: does not fit the model: {where} {strange[0]}")
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"{path}: does not fit the model: {name} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(state[name].shape)}"
            )
        state[name].copy_(tensor)


class Checkpoints:
    """The checkpoints of one run, in a folder of its own. Rank 0 writes, every rank reads."""

    def __init__(self, folder: Path, group: Group) -> None:
        """Use (and on the first save make) a folder."""
        self.folder = folder
        self.group = group

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))

    def save(self, stepper: PairedStep, done: int, seconds: float) -> None:
        """Write everything that the run needs to go on from here, and remove the oldest."""
        state = stepper.optimizer_state()
        if self.group.rank != 0:
            return
        tensors = {f"model.{name}": tensor for name, tensor in stepper.model.state_dict().items()}
        tensors |= {f"optimizer.{key}": value for key, value in state.items()}
        tensors["stop"] = stepper.stop
        progress = json.dumps({"done": done, "seconds": seconds})
        save_tensors(self.folder / f"step-{done:09d}.safetensors", tensors, {"progress": progress})
        for old in self._files()[:-KEEP]:
            old.unlink(missing_ok=True)

    @torch.no_grad()
    def restore(self, stepper: PairedStep) -> tuple[int, float]:
        """Continue from the newest checkpoint; return the steps done and their seconds (0 where there is none)."""
        files = self._files()
        if not files:
            return 0, 0.0
        tensors, metadata = load_tensors(files[-1])
        state = stepper.model.state_dict()
        optimizer = {}
        for name, tensor in tensors.items():
            kind, _, key = name.partition(".")
            if kind == "model":
                state[key].copy_(tensor)
            elif kind == "optimizer":
                optimizer[key] = tensor
        stepper.load_optimizer_state(optimizer)
        stepper.stop = tensors["stop"].to(stepper.stop.device)
        progress = json.loads(metadata["progress"])
        return progress["done"], progress["seconds"]
