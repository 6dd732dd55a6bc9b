"""Models and checkpoints as safetensors files, written whole or not at all."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hamu_ray.engine.files import StoragePath, local_copy, write_atomically
from hamu_ray.engine.history import History
from hamu_ray.engine.outcome import dump_reports, load_reports
from hamu_ray.engine.state import changing_state, put_state
from hamu_ray.engine.step import PairedStep
from hamu_ray.pairing.group import Group

logger = logging.getLogger(__name__)

KEEP = 2
"""Checkpoints that are kept: the newest, and the one before in case the newest is damaged."""


def save_tensors(
    path: StoragePath, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors in their standard memory order; shared memory is written for each name.

    Marked as PyTorch's, which `transformers` asks for.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata={"format": "pt", **(metadata or {})}))


def load_tensors(path: StoragePath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors and metadata.

    Raises:
        ValueError: The file is not there, or not whole.
    """
    try:
        with local_copy(path) as copy, safe_open(copy, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {error}") from error


def is_whole(path: StoragePath) -> bool:
    """Whether a safetensors file is there with all of its bytes; reads only its head.

    The head is JSON behind its own length in 8 bytes, and says where in the rest each tensor ends.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"]
    except (OSError, ValueError):
        return False
    return bool(ends) and size == 8 + length + max(ends)


def load_model(model: nn.Module, path: StoragePath) -> None:
    """Load what can change of a model in place; parameters keep their memory order and device.

    Raises:
        ValueError: The file's tensors are not the model's: names the file and the first difference.
    """
    tensors, _ = load_tensors(path)
    try:
        put_state(model, tensors)
    except ValueError as error:
        raise ValueError(f"{path}: does not fit the model: {error}") from error


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    steps: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Their wall time."""


class Checkpoints:
    """The checkpoints of one run, in a folder of its own. Rank 0 writes, every rank reads."""

    def __init__(self, folder: StoragePath, group: Group) -> None:
        """Use (and on the first save make) a folder."""
        self.folder = folder
        self.group = group

    def _files(self) -> list[StoragePath]:
        """Return the checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.safetensors"), key=lambda path: path.name)

    def save(self, stepper: PairedStep, progress: Progress, history: History) -> None:
        """Write everything that the run needs to go on from here. Every rank must call it.

        Keeps the one before. Later ones are those that could not be read when the run went on; they go.
        """
        optimizer = stepper.optimizer_state()
        if self.group.rank != 0:
            return
        tensors = {f"model.{name}": tensor for name, tensor in changing_state(stepper.model).items()}
        tensors |= {f"optimizer.{key}": value for key, value in optimizer.items()}
        tensors["history"] = torch.cat(history.past)
        tensors["reports"] = torch.frombuffer(bytearray(dump_reports(history.reports)), dtype=torch.uint8)
        metadata = {
            "steps": str(progress.steps),
            "seconds": repr(progress.seconds),
            "history": json.dumps(history.block_names),
        }
        newest = self.folder / f"step-{progress.steps:09d}.safetensors"
        save_tensors(newest, tensors, metadata)
        files = self._files()
        place = files.index(newest)
        for path in files[: max(place + 1 - KEEP, 0)] + files[place + 1 :]:
            path.unlink(missing_ok=True)

    def restore(self, stepper: PairedStep, history: History) -> Progress:
        """Go on from the newest checkpoint that can be read, or from the start where there is none."""
        for path in reversed(self._files()):
            try:
                tensors, metadata = load_tensors(path)
            except ValueError as error:
                logger.warning("%s: going on from the checkpoint before", error)
                continue
            self._load(stepper, tensors)
            history.past = [tensors["history"]]
            history.block_names = json.loads(metadata["history"])
            history.reports = load_reports(tensors["reports"].numpy().tobytes())
            return Progress(int(metadata["steps"]), float(metadata["seconds"]))
        return Progress()

    def _load(self, stepper: PairedStep, tensors: Mapping[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            kind, _, key = name.partition(".")
            if kind in parts:
                parts[kind][key] = tensor
        put_state(stepper.model, parts["model"])
        stepper.load_optimizer_state(parts["optimizer"])
