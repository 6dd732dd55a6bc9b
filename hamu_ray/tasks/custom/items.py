"""Single examples of a custom task: losses, predictions of classifiers, activations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.metrics.classification import example_losses
from hamu_ray.tasks.items import Columns, Places
from hamu_ray.tasks.layers import last_linear, pooled, recorded
from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.task import Outputs


@dataclass(frozen=True, eq=False)
class ExampleItems:
    """The examples of a task's splits; see `hamu_ray.tasks.items.Items`."""

    sizes: Mapping[str, int]
    class_names: Sequence[str]
    forward: Callable[[nn.Module, str, Tensor], Outputs]
    """Maps examples of a split, int64 ``(k,)``, to the model's outputs."""
    batch_size: int
    generates: bool = False

    def values(self, model: nn.Module, split: str, places: Places) -> Columns:
        """Return losses; for classifiers also predicted classes, their probabilities, and those of the true ones."""
        parts: dict[str, list[Tensor]] = {}
        for outputs in self._outputs(model, split, places):
            loss = outputs.item_loss or example_losses
            found = {"loss": loss(outputs.logits, outputs.labels).double()}
            if self.class_names:
                confidences, predictions = outputs.logits.double().softmax(1).max(1)
                found |= {
                    "label": outputs.labels,
                    "prediction": predictions,
                    "confidence": confidences,
                    "probability": torch.exp(-example_losses(outputs.logits, outputs.labels, torch.float64)),
                    "correct": (predictions == outputs.labels).double(),
                }
            for name, values in found.items():
                parts.setdefault(name, []).append(values.cpu())
        return {name: torch.cat(values).numpy() for name, values in parts.items()}

    def activations(self, model: nn.Module, split: str, places: Places) -> Mapping[str, np.ndarray]:
        """Return the activations of each layer, averaged over positions."""
        with recorded(model, last_linear(model), pooled) as seen:
            for _ in self._outputs(model, split, places):
                pass
        return {name: torch.cat(parts).numpy() for name, parts in seen.items()}

    def contents(self, split: str, places: Places) -> Columns:
        """Return nothing: examples are of any type."""
        return {}

    def answers(self, model: nn.Module, split: str, places: Places) -> Columns:
        """Return nothing."""
        return {}

    def _outputs(self, model: nn.Module, split: str, places: Places) -> Iterator[Outputs]:
        with eval_mode(model), torch.inference_mode():
            for batch in torch.from_numpy(places).split(self.batch_size):
                if len(batch):
                    yield self.forward(model, split, batch)
