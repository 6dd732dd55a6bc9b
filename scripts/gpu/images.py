"""Images of noise as a task of the engine, with any network: what a run computes, without data and configuration."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.task import Outputs, Teacher
from hamu_ray.tasks.vision.data import Examples, indices_on
from hamu_ray.tasks.vision.networks.resnet import ResNet20

CLASSES = 10
SIDE = 32

EVALUATED = 5000
"""Images per forward pass of an evaluation."""

Build = Callable[[], nn.Module]


class RandomImages:
    """32x32 colour images of noise; the first ``forget_share`` of them are forgotten."""

    teacher_outlives_model = True

    def __init__(
        self,
        count: int,
        device: torch.device,
        *,
        precision: str = "float32",
        build: Build = ResNet20,
        test: int = CLASSES,
        forget_share: float = 0.5,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.device, self.precision, self._build = device, precision, build
        self.train, self.test = (_examples(number, generator).to(device) for number in (count, test))
        cut = round(forget_share * count)
        self.splits = {"forget": torch.arange(cut), "retain": torch.arange(cut, count)}

    def build_model(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._build()
        return model.to(memory_format=torch.channels_last).to(self.device)

    def count(self, examples: Tensor) -> int:
        return len(examples)

    def parts(self, examples: Tensor, size: int) -> Sequence[Tensor]:
        return examples.split(size)

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        return self._outputs(model, self.train, examples)

    def teacher(self, model: nn.Module) -> Teacher:
        logits = self._evaluated(model, self.train, torch.arange(len(self.train))).logits
        return lambda examples: logits.index_select(0, indices_on(logits.device, examples))

    def outputs(self, model: nn.Module) -> dict[str, Outputs]:
        """Return the outputs of all splits in eval mode."""
        found = {name: (self.train, numbers) for name, numbers in self.splits.items()}
        found["test"] = (self.test, torch.arange(len(self.test)))
        return {name: self._evaluated(model, *where) for name, where in found.items()}

    def _evaluated(self, model: nn.Module, source: Examples, numbers: Tensor) -> Outputs:
        with eval_mode(model), torch.inference_mode():
            parts = [self._outputs(model, source, batch).logits for batch in numbers.split(EVALUATED)]
        logits = torch.cat(parts)
        return Outputs(
            logits, source.labels[indices_on(self.device, numbers)], indices_on(self.device, numbers)
        )

    def _outputs(self, model: nn.Module, source: Examples, numbers: Tensor) -> Outputs:
        pixels, labels = source.gather(numbers)
        images = pixels.float().sub_(127.5).mul_(1 / 64)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits = model(images)
        return Outputs(logits.float(), labels, torch.arange(len(labels), device=self.device))


def _examples(count: int, generator: torch.Generator) -> Examples:
    pixels = torch.randint(256, (count, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    return Examples(pixels.permute(0, 3, 1, 2), torch.arange(count) % CLASSES)


def layers(width: int, depth: int) -> nn.Module:
    """Return linear layers on a patch of the images: about ``width**2 * depth`` weights, and small activations."""
    inner = (module for _ in range(depth) for module in (nn.Linear(width, width, bias=False), nn.ReLU()))
    return nn.Sequential(Patch(width), *inner, nn.Linear(width, CLASSES))


class Patch(nn.Module):
    """The first values of each image, repeated up to a width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return flat.repeat(1, -(-self.width // flat.shape[1]))[:, : self.width]
