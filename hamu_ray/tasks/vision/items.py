"""Single images: predictions and confidences, activations, thumbnails."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hamu_ray.metrics.classification import example_losses
from hamu_ray.tasks.items import Columns, Places
from hamu_ray.tasks.layers import last_linear, pooled, recorded
from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.task import Outputs
from hamu_ray.tasks.vision.data import Examples

THUMBNAIL = 64
"""Maximum side length of a thumbnail in pixels."""


@dataclass(frozen=True, eq=False)
class ImageItems:
    """The images of a task's splits; see `hamu_ray.tasks.items.Items`."""

    splits: Mapping[str, tuple[Examples, Tensor]]
    """The images of each split, and their indices."""
    class_names: Sequence[str]
    forward: Callable[[nn.Module, Examples, Tensor], Outputs]
    batch_size: int
    generates: bool = False

    @property
    def sizes(self) -> Mapping[str, int]:
        """Number of images of each split."""
        return {name: len(indices) for name, (_, indices) in self.splits.items()}

    def values(self, model: nn.Module, split: str, places: Places) -> Columns:
        """Return losses in nats, predicted classes and the probabilities of the predicted and of the true class."""
        outputs = list(self._outputs(model, split, places))
        if not outputs:
            return {}
        logits = torch.cat([part.logits for part in outputs]).cpu()
        labels = torch.cat([part.labels for part in outputs]).cpu()
        losses = example_losses(logits, labels, torch.float64)
        confidences, predictions = logits.double().softmax(1).max(1)
        return {
            "label": labels.numpy(),
            "loss": losses.numpy(),
            "prediction": predictions.numpy(),
            "confidence": confidences.numpy(),
            "probability": torch.exp(-losses).numpy(),
            "correct": (predictions == labels).double().numpy(),
        }

    def activations(self, model: nn.Module, split: str, places: Places) -> Mapping[str, np.ndarray]:
        """Return the activations of each layer, averaged over pixels or positions."""
        with recorded(model, last_linear(model), pooled) as seen:
            for _ in self._outputs(model, split, places):
                pass
        return {name: torch.cat(parts).numpy() for name, parts in seen.items()}

    def contents(self, split: str, places: Places) -> Columns:
        """Return the images as PNG, reduced to `THUMBNAIL` pixels."""
        source, indices = self.splits[split]
        pixels = source.gather(indices[torch.from_numpy(places)])[0].permute(0, 2, 3, 1).cpu().numpy()
        return {"image": [_png(image) for image in pixels]}

    def answers(self, model: nn.Module, split: str, places: Places) -> Columns:
        """Return nothing: classifiers do not generate."""
        return {}

    def _outputs(self, model: nn.Module, split: str, places: Places) -> Iterator[Outputs]:
        source, indices = self.splits[split]
        with eval_mode(model), torch.inference_mode():
            for batch in indices[torch.from_numpy(places)].split(self.batch_size):
                yield self.forward(model, source, batch)


def _png(pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
