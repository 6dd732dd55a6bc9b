"""Peak memory of a model's passes, from fake tensors: shapes and dtypes are computed, and nothing is allocated."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hamu_ray.methods import Objective, Predictions
from hamu_ray.methods.draws import seeds_of
from hamu_ray.methods.objectives import SECOND, SEEDS, TEACHERS
from hamu_ray.tasks.outline import Outline


class LiveBytes(TorchDispatchMode):
    """Within, count the bytes of new tensors while they live; views and what existed before do not count."""

    def __init__(self, existing: Sequence[Tensor]) -> None:
        """Count nothing yet; ``existing`` are tensors that do not count."""
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in existing}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator and count the memory of its results."""
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            weakref.finalize(storage, self._forget, key, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class Tracer:
    """The passes of an outline's model. Results are kept, as are the model's shapes."""

    def __init__(self, outline: Outline) -> None:
        """Build nothing yet."""
        self.outline = outline
        self.model = lru_cache(maxsize=2)(self._built)
        self.gradient = lru_cache(maxsize=None)(self._gradient)
        self.evaluation = lru_cache(maxsize=None)(self._evaluation)

    def _built(self, unlearned: bool) -> nn.Module:
        return as_fake(self.outline.build(unlearned))

    def _gradient(self, unlearned: bool, objective: Objective, examples: int, sharded: bool) -> int:
        """Return the peak of a forward and backward pass in bytes, beyond weights and their gradients."""

        def run(model: nn.Module) -> None:
            seen = self._predictions(model, objective, examples, sharded)
            if SECOND in objective.needs:
                seen = replace(seen, second=self._predictions(model, objective, examples, sharded))
            objective.loss(seen).sum(dtype=torch.float64).backward()

        return self._peak(self.model(unlearned).train(), run)

    def _predictions(
        self, model: nn.Module, objective: Objective, examples: int, sharded: bool
    ) -> Predictions:
        """Return what an objective sees; logits stand for hidden states, which are not larger."""
        outputs = self.outline.forward(model, examples, sharded)
        teachers: dict[str, Tensor] = {}
        for name in objective.needs.intersection(TEACHERS):
            with torch.no_grad():
                teachers[name] = self.outline.forward(model, examples, sharded).logits
        places = torch.arange(examples)
        return Predictions(
            logits=outputs.logits,
            labels=outputs.labels,
            examples=outputs.examples,
            count=examples,
            teachers=teachers,
            item_loss=outputs.item_loss,
            seeds=seeds_of(places, 0, places.device) if SEEDS in objective.needs else None,
        )

    def _evaluation(self, unlearned: bool, examples: int) -> int:
        """Return the peak of an evaluation in bytes, beyond weights."""

        @torch.no_grad()
        def run(model: nn.Module) -> None:
            self.outline.evaluate(model, examples)

        return self._peak(self.model(unlearned).eval(), run)

    def _peak(self, model: nn.Module, run: Callable[[nn.Module], None]) -> int:
        existing = [*model.parameters(), *model.buffers()]
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        with LiveBytes([*existing, *gradients]) as live:
            run(model)
        return live.peak


def as_fake(model: nn.Module) -> nn.Module:
    """Return a model on the meta device as one on the CPU whose tensors are fake, with gradients of those that change.

    Its tensors are in a mode of their own, which accepts inputs that are not fake.
    """
    mode, made = FakeTensorMode(allow_non_fake_inputs=True), {}

    def like(tensor: Tensor) -> Tensor:
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")

    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter not in made:
                made[parameter] = nn.Parameter(like(parameter), parameter.requires_grad)
                made[parameter].grad = like(parameter) if parameter.requires_grad else None
            setattr(module, name, made[parameter])
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            setattr(module, name, like(buffer))
    return model
