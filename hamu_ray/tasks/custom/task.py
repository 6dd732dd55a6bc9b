"""The custom task: a model, map-style datasets, a loss and metrics that were given as Python objects."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from hamu_ray.config.task.custom import CustomModelConfig
from hamu_ray.metrics import comparison, names
from hamu_ray.metrics.classification import example_losses
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.metrics.undefined import Undefined
from hamu_ray.tasks.custom.data import CustomTaskData, built_model, outputs_of
from hamu_ray.tasks.custom.items import ExampleItems
from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.task import Device, ExampleIdentity, Outputs, Share, Start, Teacher, from_first_rank


class CustomTask:
    """A task of Python objects with its splits. An example is one loss item."""

    teacher_outlives_model = True

    def __init__(self, data: CustomTaskData, *, model: CustomModelConfig, batch_size: int, seed: int) -> None:
        """Take the loaded data; ``batch_size`` is of evaluation, the seed decides its subsets."""
        self.data, self.device = data, data.device
        self._model_config, self._batch_size, self._seed = model, batch_size, seed
        examples = data.description.examples
        numbers = torch.arange(examples["retain"] + examples["forget"])
        self._splits = {"retain": numbers[: examples["retain"]], "forget": numbers[examples["retain"] :]}

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Numbers (int64, CPU) of the training examples: first those to retain, then those to forget."""
        return self._splits

    @property
    def fingerprint(self) -> str:
        """Hash of the examples, and of what model, loss and metrics compute."""
        return self.data.description.fingerprint

    def identities(self, examples: Tensor) -> Sequence[ExampleIdentity]:
        """Return the number of each example in the forget set, and its SHA-256 as in the task's description.

        Only examples to forget have identities.
        """
        first, known = self.data.description.examples["retain"], self.data.description.forget_items
        numbers = (examples - first).tolist()
        return [ExampleIdentity(f"example {number}", known[number]) for number in numbers]

    def build_model(self, seed: int, start: Start | None = None, device: Device = None) -> nn.Module:
        """Return a new model on the device; its weights depend on the seed as the builder has it."""
        assert start is None, "the configuration lets checkpoints through for other tasks alone"
        return built_model(self.data.model, seed).to(device or self.device)

    def unlearner(self, model: nn.Module, seed: int) -> nn.Module:
        """Return the model itself."""
        return model

    def count(self, examples: Tensor) -> int:
        """Return the number of loss items: one per example."""
        return len(examples)

    def parts(self, examples: Tensor, size: int) -> Sequence[Tensor]:
        """Split examples into micro-batches in their own order."""
        return examples.split(size)

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        """Run the model on training examples in its own mode; outputs are float32 ``(k, *output_shape)``."""
        return self._outputs(model, *self.data.training_batch(examples))

    def teacher(self, model: nn.Module) -> Teacher:
        """Return a function from training examples to the outputs of this model as it is now, in eval mode."""
        frozen = built_model(self.data.model, self._seed).to(self.device)
        frozen.load_state_dict(model.state_dict())
        frozen.eval().requires_grad_(False)

        def answers(examples: Tensor) -> Tensor:
            with torch.inference_mode():
                outputs = self.forward(frozen, examples).logits
            return outputs.clone()  # an ordinary tensor, which objectives may save for the backward pass

        return answers

    def evaluate(self, model: nn.Module, share: Share, *, subset: int | None = None) -> Measures:
        """Measure the model on retain, forget and test examples, in eval mode, which is undone afterwards.

        Each rank reads its part of the examples. What is gathered is a loss and a hit per example, and outputs and
        targets where the task has metrics of its own. All ranks compute the measures of the same numbers, but for
        own metrics: rank 0 computes those for all.
        """
        measures, per_item = Measures(), {}
        kept = {"forget": names.FORGET_LOSSES, **({"test": names.TEST_LOSSES} if subset is None else {})}
        for split in names.SPLITS:
            numbers = self._numbers(split, subset)
            mine = numbers.tensor_split(share.size)[share.rank]
            losses, outputs, targets = self._measured(model, split, mine)
            gathered = share.gather_rows(losses)
            measures[names.loss_of(split)] = _mean(gathered, "losses")
            if self.data.description.classes is not None:
                hits = (outputs.argmax(dim=-1) == targets).double()
                measures[names.accuracy_of(split)] = _mean(share.gather_rows(hits), "examples")
            if split in kept:
                per_item[kept[split]] = gathered.tolist()
            if self.data.config.metrics:
                every = share.gather_rows(outputs), share.gather_rows(targets)
                values = self._own_metrics(*every) if share.rank == 0 else []
                values = from_first_rank(share, values, self.device)
                for name, value in zip(self.data.config.metrics, values, strict=True):
                    measures[names.own_metric_of(split, name)] = value
        return Measured(measures, per_item)

    def compare(self, measures: Measures, original: Measures | None, reference: Measures | None) -> Measures:
        """Return the sweep's two default objectives."""
        assert reference is not None, "the configuration does not let a custom task do without a reference"
        utility = measures.get(self.data.description.utility)
        return {
            **comparison.measured_forget_quality(
                measures,
                reference,
                self.data.description.examples["forget"],
                lambda subset: self._numbers("forget", subset).numpy(),
            ),
            names.RETAIN_UTILITY: Undefined("it was not measured") if utility is None else utility,
        }

    def loading(self, model: nn.Module) -> str:
        """Return the Python that loads this model from the folder that it is left in."""
        builder = self.data.model
        module, name = getattr(builder, "__module__", ""), getattr(builder, "__qualname__", "")
        importable = name.isidentifier() and module not in ("", "__main__")
        first = (
            f"from {module} import {name} as build\n"
            if importable
            else f"# build: what was given as the model ({self._model_config.name})\n"
        )
        frozen = any(not parameter.requires_grad for parameter in model.parameters())
        rest = ", strict=False)  # frozen weights are those that build gives\n" if frozen else ")\n"
        return (
            f"{first}from safetensors.torch import load_model\n"
            f'load_model(model := build(), "model.safetensors"{rest}'
        )

    def export(self, model: nn.Module, base: str | None, state: Mapping[str, Tensor]) -> Mapping[str, bytes]:
        """Return no files: the weights alone are what the model's own code loads."""
        return {}

    @property
    def items(self) -> ExampleItems:
        """Return the examples of the splits, to look at single ones."""
        known = self.data.description

        def forward(model: nn.Module, split: str, places: Tensor) -> Outputs:
            return self._outputs(model, *self.data.batch(split, places))

        classes = tuple(str(number) for number in range(known.classes or 0))
        return ExampleItems(known.examples, classes, forward, self._batch_size)

    def _outputs(self, model: nn.Module, inputs: object, targets: Tensor) -> Outputs:
        low_precision = self._model_config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low_precision):
            outputs = outputs_of(model, inputs)
        return Outputs(
            outputs.float(), targets, torch.arange(len(targets), device=self.device), self.data.loss
        )

    def _numbers(self, split: str, subset: int | None) -> Tensor:
        """Return the places of the measured examples in their own dataset; the same draw each time."""
        count = self.data.description.examples[split]
        if subset is None or subset >= count:
            return torch.arange(count)
        generator = torch.Generator().manual_seed(self._seed * len(names.SPLITS) + names.SPLITS.index(split))
        return torch.randperm(count, generator=generator)[:subset].sort().values

    def _measured(self, model: nn.Module, split: str, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses ``(k,)``, outputs and targets of examples of a split; ``k`` may be 0."""
        loss: Callable[[Tensor, Tensor], Tensor] = self.data.loss or partial(
            example_losses, dtype=torch.float64
        )  # near 0, float32 would make different losses equal
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        with eval_mode(model), torch.inference_mode():
            for batch in self._batches(numbers):
                said = self._outputs(model, *self.data.batch(split, batch))
                found.append((loss(said.logits, said.labels), said.logits, said.labels))
        # Outside inference mode, so that the results are tensors that collectives may write to.
        losses, outputs, targets = (torch.cat(parts)[: len(numbers)] for parts in zip(*found, strict=True))
        return losses, outputs, targets

    def _batches(self, numbers: Tensor) -> Iterator[Tensor]:
        """Yield batches of numbers; of none the first example, whose outputs show shapes and types."""
        yield from (numbers if len(numbers) else torch.zeros(1, dtype=torch.int64)).split(self._batch_size)

    def _own_metrics(self, outputs: Tensor, targets: Tensor) -> list[float]:
        """Return the values of the task's own metrics, in order."""
        return [float(metric(outputs, targets)) for metric in self.data.metrics.values()]


def _mean(values: Tensor, what: str) -> float:
    """Return the mean, `Undefined` where a value is not finite."""
    mean = values.double().mean().item()
    return mean if torch.isfinite(values).all() else Undefined(f"some of the {what} are not finite")
