"""Models and checkpoints as safetensors files, written atomically."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hamu_ray.engine.files.tensors import load_tensors, save_tensors, take_part
from hamu_ray.engine.history import History
from hamu_ray.engine.state import put_state, whole_state
from hamu_ray.engine.step import PairedStep
from hamu_ray.pairing.group import Group
from hamu_ray.pairing.sharding import Gathered
from hamu_ray.results.outcome import dump_reports, load_reports
from hamu_ray.storage import StoragePath, remove_folder

logger = logging.getLogger(__name__)

KEEP = 2
"""Number of checkpoints to keep: the newest, and the previous one in case the newest is damaged."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    steps: int = 0
    """Number of steps taken."""
    seconds: float = 0.0
    """Wall time of the steps."""


class Checkpoints:
    """The checkpoints of one run, in their own folder. Rank 0 writes, every rank reads."""

    def __init__(self, folder: StoragePath, group: Group) -> None:
        """Use a folder, which is created on the first save."""
        self.folder = folder
        self.group = group

    def _files(self) -> list[StoragePath]:
        """Return the checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.safetensors"), key=lambda path: path.name)

    def save(self, stepper: PairedStep, progress: Progress, history: History) -> None:
        """Write everything that the run needs to resume. Every rank must call it.

        Keeps the previous checkpoint. Later checkpoints, which could not be read on resuming, are deleted.
        """
        optimizer = stepper.optimizer_state()
        state = whole_state(stepper.model, stepper.shards)
        tensors: dict[str, Tensor | Gathered] = {f"model.{name}": tensor for name, tensor in state.items()}
        tensors |= {f"optimizer.{key}": value for key, value in optimizer.items()}
        tensors |= {f"state.{key}": value for key, value in stepper.carried_state().items()}
        if self.group.rank != 0:
            if stepper.replicas.rank == 0:
                take_part(tensors)
            return
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
        """Resume from the newest readable checkpoint, or from the start if there is none."""
        for path in reversed(self._files()):
            try:
                tensors, metadata = load_tensors(path)
            except ValueError as error:
                logger.warning("%s: resuming from the previous checkpoint", error)
                continue
            self._load(stepper, tensors)
            history.past = [tensors["history"]]
            history.block_names = json.loads(metadata["history"])
            history.reports = load_reports(tensors["reports"].numpy().tobytes(), str(path))
            return Progress(int(metadata["steps"]), float(metadata["seconds"]))
        return Progress()

    def remove(self) -> None:
        """Remove the checkpoints of a run that has ended."""
        remove_folder(self.folder)
        if not any(self.folder.parent.glob("*")):
            remove_folder(self.folder.parent)

    def _load(self, stepper: PairedStep, tensors: Mapping[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "state": {}}
        for name, tensor in tensors.items():
            kind, _, key = name.partition(".")
            if kind in parts:
                parts[kind][key] = tensor
        put_state(stepper.model, parts["model"])
        stepper.load_optimizer_state(parts["optimizer"])
        carried = stepper.carried_state()
        for key, value in parts["state"].items():
            carried[key].copy_(value)
