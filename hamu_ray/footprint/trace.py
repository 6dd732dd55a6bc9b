"""Memory and work of a model's passes, from fake tensors: shapes and dtypes are computed, and nothing is allocated."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.loop import set_training_mode
from hamu_ray.footprint.compute.costs import CountedWork, Work
from hamu_ray.methods import Objective, Predictions
from hamu_ray.methods.draws import seeds_of
from hamu_ray.methods.objectives import SECOND, SEEDS, TEACHERS
from hamu_ray.tasks.forecast import Forecast
from hamu_ray.tasks.outline import Outline
from hamu_ray.tasks.registry import outline_of


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


@dataclass(frozen=True)
class Traced:
    """What a pass takes."""

    peak: int
    """Bytes beyond what existed before."""
    work: Work


class Tracer:
    """The passes of an outline's model. Results are kept, as are the model's shapes."""

    def __init__(self, outline: Outline) -> None:
        """Build nothing yet."""
        self.outline = outline
        self.model = lru_cache(maxsize=2)(self._built)
        self.gradient = lru_cache(maxsize=None)(self._gradient)
        self.loss = lru_cache(maxsize=None)(self._loss)
        self.evaluation = lru_cache(maxsize=None)(self._evaluation)
        self.outputs = lru_cache(maxsize=None)(self._outputs)
        self.answers = lru_cache(maxsize=None)(self._answers)

    def _built(self, unlearned: bool) -> nn.Module:
        return as_fake(self.outline.build(unlearned))

    def _gradient(
        self, unlearned: bool, objective: Objective, examples: int, sharded: bool = False
    ) -> Traced:
        """Trace a forward and backward pass; weights and their gradients exist before."""

        def run(model: nn.Module) -> None:
            self._loss_of(model, objective, examples, sharded).backward()

        return self._traced(self._training(unlearned), run)

    def _loss(self, unlearned: bool, objective: Objective, examples: int) -> Traced:
        """Trace a forward pass of training without gradients."""

        @torch.no_grad()
        def run(model: nn.Module) -> None:
            self._loss_of(model, objective, examples, sharded=False)

        return self._traced(self._training(unlearned), run)

    def _training(self, unlearned: bool) -> nn.Module:
        model = self.model(unlearned)
        set_training_mode(model, freeze_batchnorm=unlearned and self.outline.freeze_batchnorm)
        return model

    def _loss_of(self, model: nn.Module, objective: Objective, examples: int, sharded: bool) -> Tensor:
        seen = self._predictions(model, objective, examples, sharded)
        if SECOND in objective.needs:
            seen = replace(seen, second=self._predictions(model, objective, examples, sharded))
        return objective.loss(seen).sum(dtype=torch.float64)

    def _predictions(
        self, model: nn.Module, objective: Objective, examples: int, sharded: bool
    ) -> Predictions:
        """Return what an objective sees; logits stand for hidden states, which are not larger."""
        outputs = self.outline.forward(model, examples, sharded)
        teachers: dict[str, Tensor] = {}
        for name in objective.needs.intersection(TEACHERS):
            if self.outline.teacher_outlives_model:
                teachers[name] = torch.zeros_like(outputs.logits)
                continue
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

    def _evaluation(self, unlearned: bool, examples: int) -> Traced:
        """Trace what of an evaluation needs the most memory; weights exist before."""
        return self._evaluated(unlearned, self.outline.evaluate, examples)

    def _outputs(self, unlearned: bool, examples: int) -> Traced:
        """Trace the outputs of an evaluation."""

        def forward(model: nn.Module, count: int) -> object:
            return self.outline.forward(model, count, False)

        return self._evaluated(unlearned, forward, examples)

    def _answers(self, unlearned: bool, examples: int) -> Traced:
        """Trace one more token of generated answers."""
        assert self.outline.generation is not None, "answers are generated"
        return self._evaluated(unlearned, self.outline.generation.forward, examples)

    def _evaluated(
        self, unlearned: bool, forward: Callable[[nn.Module, int], object], examples: int
    ) -> Traced:
        @torch.no_grad()
        def run(model: nn.Module) -> None:
            forward(model, examples)

        return self._traced(self.model(unlearned).eval(), run)

    def _traced(self, model: nn.Module, run: Callable[[nn.Module], None]) -> Traced:
        existing = [*model.parameters(), *model.buffers()]
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        with CountedWork() as counted, LiveBytes([*existing, *gradients]) as live:
            run(model)
        return Traced(live.peak, counted.work)


class Tracers:
    """Tracers of the models of runs. What was traced once is known."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: dict[str, Tracer] = {}

    def of(self, run: RunConfig, forecast: Forecast | None) -> Tracer:
        """Return the tracer of a run's model; ``forecast`` is that of its data, if it is known.

        Raises:
            ValueError: Neither data nor configuration determine the model.
        """
        lengths = [side.longest for side in forecast.splits.values()] if forecast else []
        key = run.model_dump_json(include={"data", "model", "training"}) + str(lengths)
        if key not in self._known:
            self._known[key] = Tracer(outline_of(run, forecast))
        return self._known[key]


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
