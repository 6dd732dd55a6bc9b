"""A task of Python objects, checked and written for the workers: a custom task like any that a YAML file names."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from hamu_ray.api.examples import check_dataset, digests, overlaps
from hamu_ray.api.pickling import behaviour, pickled
from hamu_ray.engine.files.tensors import save_tensors
from hamu_ray.engine.state import changing_state
from hamu_ray.methods import Predictions, get_method
from hamu_ray.methods.objectives import TEACHERS
from hamu_ray.metrics import names
from hamu_ray.storage import StoragePath, write_atomically
from hamu_ray.tasks.custom.data import built_model, items_of, outputs_of
from hamu_ray.tasks.custom.parts import DESCRIPTION_FILE, Description, digest, write_object
from hamu_ray.tasks.modes import eval_mode

Loss = Callable[[Tensor, Tensor], Tensor]
OwnMetric = Callable[[Tensor, Tensor], Any]

TASKS = "tasks"
"""Folder of custom tasks in the storage."""

PROBED = 8
"""Examples that a model, loss and metrics are tried on."""

SPLITS = ("retain", "forget", "test")


@dataclass(frozen=True)
class Definition:
    """What `hamu_ray.sweep` and `hamu_ray.Unlearner` are given; see there."""

    model: Any
    retain: Any
    forget: Any
    test: Any
    original: nn.Module | None = None
    loss: Loss | None = None
    metrics: Iterable[OwnMetric] = ()
    utility: str | None = None
    collate: Callable[[list], Any] | None = None

    def write(self, storage: StoragePath, seed: int) -> dict[str, Any]:
        """Check everything, and write the task under the storage.

        Returns:
            The sections of its configuration that follow: ``data``, ``forget``, ``model``, and ``original`` where one
            was given.

        Raises:
            ValueError: Something cannot be used: in one line that says what.
        """
        for name in SPLITS:
            check_dataset(name, getattr(self, name))
        metrics = self._named_metrics()
        objects = {
            **{name: getattr(self, name) for name in ("model", *SPLITS, "collate", "loss")},
            "metrics": metrics,
        }
        for name, metric in metrics.items():
            pickled(f"metrics: {name}", metric)  # alone, so that an error names it
        contents = {name: pickled(name, value) for name, value in objects.items()}
        model = _built(self.model, seed)
        probe = self._probed(model, metrics)
        found = {name: digests(getattr(self, name)) for name in SPLITS}
        folder = storage / TASKS
        description = Description(
            objects={name: write_object(folder, content) for name, content in contents.items()},
            examples={name: len(found[name]) for name in SPLITS},
            fingerprint=self._fingerprint(found, model, probe, metrics),
            forget_items=tuple(content.hex() for content in found["forget"]),
            output_shape=tuple(probe.outputs.shape[1:]),
            classes=probe.classes,
            utility=self._utility(probe, metrics),
            overlaps=tuple(overlaps(found)),
        )
        content = description.dumped()
        place = folder / digest(content)[:16]
        write_atomically(place / DESCRIPTION_FILE, content)
        data = {"name": "custom", "path": str(place), "digest": digest(content), "metrics": list(metrics)}
        called = getattr(self.model, "__name__", type(self.model).__name__)
        sections: dict[str, Any] = {
            "data": data,
            "forget": {"kind": "split"},
            "model": {"name": called, "start": self._start(model, seed, place)},
        }
        if self.original is not None:
            weights = _weights(place / "original.safetensors", self._trained(model))
            sections["original"] = {"path": str(weights)}
        return sections

    def check_methods(self, methods: Iterable[str]) -> None:
        """Check that the objectives of methods can be computed of the model's outputs.

        Raises:
            ValueError: One cannot: in one line that names the method.
        """
        model = _built(self.model, 0)
        probe = self._probed(model, {})
        rows = torch.arange(len(probe.outputs))
        predictions = Predictions(
            logits=probe.outputs,
            labels=probe.targets,
            examples=rows,
            count=len(rows),
            teachers=dict.fromkeys(TEACHERS, probe.outputs),
            item_loss=self.loss,
            seeds=rows,
        )
        for name in methods:
            method = get_method(name)
            for objective in filter(None, (method.retain, method.forget)):
                try:
                    objective.loss(predictions)
                except ValueError as error:
                    raise ValueError(f"methods: {name} cannot be used: {_line(error)}") from error

    def _trained(self, model: nn.Module) -> nn.Module:
        """Return the model with the original's weights."""
        if not isinstance(self.original, nn.Module):
            raise ValueError(f"original: needs a trained module, found {type(self.original).__name__}")
        try:
            model.load_state_dict(self.original.state_dict())
        except RuntimeError as error:
            raise ValueError(f"original: must have the layers of model: {_line(error)}") from error
        return model

    def _named_metrics(self) -> dict[str, OwnMetric]:
        """Return the metrics by the names of their functions."""
        found: dict[str, OwnMetric] = {}
        for metric in self.metrics:
            name = getattr(metric, "__name__", type(metric).__name__)
            if not name.isidentifier() or name in found or name in ("loss", "accuracy"):
                raise ValueError(
                    f"metrics: {name} is no name for a metric of its own; define each as a function with another name"
                )
            found[name] = metric
        return found

    def _probed(self, model: nn.Module, metrics: Mapping[str, OwnMetric]) -> "Probe":
        """Try model, loss and metrics on the first examples to retain."""
        items = items_of(self.retain, list(range(min(PROBED, len(self.retain)))))
        try:
            inputs, targets = (self.collate or default_collate)(items)
        except Exception as error:
            raise ValueError(
                f"collate: cannot make a batch of {len(items)} examples: {_line(error)}"
            ) from error
        if not isinstance(targets, Tensor) or len(targets) != len(items):
            raise ValueError("collate: targets must be a tensor with a row per example")
        try:
            with eval_mode(model), torch.no_grad():
                outputs = outputs_of(model, inputs)
        except Exception as error:
            raise ValueError(f"model: fails on the first examples to retain: {_line(error)}") from error
        if not isinstance(outputs, Tensor) or len(outputs) != len(items):
            raise ValueError(
                f"model: must return a tensor with a row per example, found {type(outputs).__name__}; return it from "
                "a module around it"
            )
        probe = Probe(outputs.float(), targets, self._losses(outputs.float(), targets))
        for name, metric in metrics.items():
            try:
                probe.values[name] = float(metric(probe.outputs, targets))
            except Exception as error:
                raise ValueError(
                    f"metrics: {name} must return a number for outputs and targets: {_line(error)}"
                ) from error
        return probe

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses of the probe, which the task's loss must have for each example."""
        if self.loss is None:
            if _classes(outputs, targets) is None:
                raise ValueError(
                    "loss: without one, outputs must be logits (examples, classes) and targets their classes (int64), "
                    f"found outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} of {targets.dtype}; give "
                    "a loss"
                )
            return nn.functional.cross_entropy(outputs, targets, reduction="none")
        try:
            losses = self.loss(outputs, targets)
        except Exception as error:
            raise ValueError(f"loss: fails on the first examples to retain: {_line(error)}") from error
        if not isinstance(losses, Tensor) or losses.shape != (len(outputs),):
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(
                f"loss: must return a value per example, shape ({len(outputs)},), found {shape}; leave out the mean "
                "(reduction='none')"
            )
        return losses

    def _utility(self, probe: "Probe", metrics: Mapping[str, OwnMetric]) -> str:
        """Return the key of the metric that `retain_utility` is."""
        if self.utility is not None and self.utility not in metrics:
            known = ", ".join(metrics) or "none"
            raise ValueError(f"utility: {self.utility} is none of the metrics ({known}); name one of them")
        if self.utility is None and probe.classes is not None:
            return names.accuracy_of("test")
        name = self.utility or next(iter(metrics), None)
        if name is None:
            raise ValueError(
                "metrics: the model is no classifier: give a metric where higher is better; the first is the "
                "retain_utility"
            )
        return names.own_metric_of("test", name)

    def _fingerprint(
        self,
        found: Mapping[str, list[bytes]],
        model: nn.Module,
        probe: "Probe",
        metrics: Mapping[str, OwnMetric],
    ) -> str:
        """Return the hash of the examples, and of what model, loss and metrics compute."""
        content = hashlib.sha256()
        for name in SPLITS:
            content.update(b"".join((len(found[name]).to_bytes(8, "big"), *found[name])))
        state = changing_state(model)
        for name in sorted(state):
            content.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}".encode())
        for tensor in (*(state[name] for name in sorted(state)), probe.outputs, probe.losses):
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            content.update(flat.view(torch.uint8).numpy().tobytes())
        code = [behaviour(self.loss), *map(behaviour, metrics.values())]
        content.update(repr((code, self._utility(probe, metrics), probe.values)).encode())
        return content.hexdigest()

    def _start(self, model: nn.Module, seed: int, place: StoragePath) -> str | None:
        """Write the weights that training starts from where they are not random; return their file."""
        other = _built(self.model, seed + 1)
        if any(
            parameter.numel() > 1 and parameter.min() != parameter.max() and torch.equal(parameter, again)
            for parameter, again in zip(model.parameters(), other.parameters(), strict=True)
        ):
            return str(_weights(place / "start.safetensors", model))
        return None


@dataclass(frozen=True)
class Probe:
    """What model, loss and metrics gave for a few examples."""

    outputs: Tensor
    targets: Tensor
    losses: Tensor
    values: dict[str, float] = field(default_factory=dict)
    """Of the task's own metrics."""

    @property
    def classes(self) -> int | None:
        """How many classes the outputs are logits of; None where they are of none."""
        return _classes(self.outputs, self.targets)


def _classes(outputs: Tensor, targets: Tensor) -> int | None:
    logits = outputs.ndim == 2 and targets.ndim == 1 and targets.dtype == torch.int64
    if not logits or not (int(targets.min()) >= 0 and int(targets.max()) < outputs.shape[1]):
        return None
    return outputs.shape[1]


def _built(model: Any, seed: int) -> nn.Module:
    """Return what the builder builds, or a copy of the module."""
    if not isinstance(model, nn.Module) and not callable(model):
        raise ValueError(
            f"model: needs a module, or a function that builds one, found {type(model).__name__}"
        )
    try:
        built = built_model(model, seed)
    except Exception as error:
        raise ValueError(f"model: cannot be built: {_line(error)}") from error
    if not isinstance(built, nn.Module):
        raise ValueError(f"model: the function must return a torch.nn.Module, found {type(built).__name__}")
    return built


def _weights(path: StoragePath, model: nn.Module) -> StoragePath:
    """Write a model's weights; return the file."""
    save_tensors(path, changing_state(model))
    return path


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
