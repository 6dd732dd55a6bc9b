"""The vision task: image classifiers unlearn some of their training images."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import ForgetClass, ForgetConfig
from hamu_ray.config.training import AugmentConfig
from hamu_ray.metrics import comparison, names
from hamu_ray.metrics.classification import accuracy
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.metrics.undefined import Undefined, reasons
from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.task import (
    AugmentedForward,
    Device,
    ExampleIdentity,
    Outputs,
    Share,
    Start,
    Teacher,
    from_first_rank,
)
from hamu_ray.tasks.validation import VALIDATION, validation_mask
from hamu_ray.tasks.vision.classes import output_order
from hamu_ray.tasks.vision.data import Examples, VisionData, indices_on
from hamu_ray.tasks.vision.export import exported, loading_code
from hamu_ray.tasks.vision.forget import split_examples
from hamu_ray.tasks.vision.identity import identities_of
from hamu_ray.tasks.vision.images.augmentation import cropped_and_flipped
from hamu_ray.tasks.vision.items import ImageItems
from hamu_ray.tasks.vision.measures import ALL, CHEAP, UNSEEN, all_measures, cheap_measures, exact_losses
from hamu_ray.tasks.vision.models import build_vision_model, logits_of
from hamu_ray.tasks.vision.perturbed import perturbed_logits

logger = logging.getLogger(__name__)

SUBSET_STREAM = 2
"""Separates this random stream from others with the same seed."""


class VisionTask:
    """Image data with a forget set. Cheap to construct: images are shared, and a split is two index tensors."""

    teacher_outlives_model = True

    def __init__(
        self, data: VisionData, *, forget: ForgetConfig, model: ModelConfig, batch_size: int, seed: int
    ) -> None:
        """Split the training images.

        ``batch_size`` is used only for evaluation; the seed determines the split and the evaluation's draws. Raises
        `ValueError` for a forget set that the data cannot provide.
        """
        self.device = data.device
        self._fingerprint = data.fingerprint
        split = split_examples(data.train.labels.cpu().numpy(), data.class_names, forget, seed, data.source)
        self._splits = {"retain": torch.from_numpy(split.retain), "forget": torch.from_numpy(split.forget)}
        kept = np.unique(data.train.labels.cpu().numpy()[split.retain])
        is_test = np.isin(data.test.labels.cpu().numpy(), kept)
        held = validation_mask(len(data.test), data.validation)
        self._test, self._validation, self._unseen = (
            torch.from_numpy(np.flatnonzero(part)) for part in (is_test & ~held, is_test & held, ~is_test)
        )
        order = torch.from_numpy(output_order(data.class_names, model))
        self.data = data.with_labels(order)  # from here on, labels are the model's class indices
        self._forgotten_class = None if split.forgotten_class is None else int(order[split.forgotten_class])
        self._model_config = model
        self._batch_size = batch_size
        self._seed = seed
        self._whole_class = isinstance(forget, ForgetClass) and forget.rho == 0
        self._reported: set[tuple[str, str]] = set()
        self._mean = torch.tensor(data.mean, device=self.device).view(1, -1, 1, 1) * 255
        self._scale = 1 / (torch.tensor(data.std, device=self.device).view(1, -1, 1, 1) * 255)

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Indices (int64, CPU, sorted) of the ``retain`` and ``forget`` images in the training images."""
        return self._splits

    @property
    def fingerprint(self) -> str:
        """Hash of the data's content."""
        return self._fingerprint

    def identities(self, examples: Tensor) -> Sequence[ExampleIdentity]:
        """Return the row and name of each training image, and the SHA-256 of its stored file or of its pixels."""
        return identities_of(self.data, examples)

    def build_model(self, seed: int, start: Start | None = None, device: Device = None) -> nn.Module:
        """Return a new or pretrained model on the device; its weights depend on the seed, not on the device."""
        data = self.data
        model = build_vision_model(self._model_config, data.image_shape, data.class_names, seed, start)
        return model.to(device or self.device)

    def unlearner(self, model: nn.Module, seed: int) -> nn.Module:
        """Return the model itself: unlearning changes all of its weights."""
        return model

    def count(self, examples: Tensor) -> int:
        """Return the number of loss items: one per image."""
        return len(examples)

    def parts(self, examples: Tensor, size: int) -> Sequence[Tensor]:
        """Split images into micro-batches in their order; all images cost the same."""
        return examples.split(size)

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        """Run the model on training images without changing its mode; logits are float32 ``(k, classes)``.

        ``examples`` is int64 ``(k,)``, on the CPU or the task's device. Does not synchronise.
        """
        return self._outputs(model, self.data.train, examples)

    def augmented(self, config: AugmentConfig) -> AugmentedForward:
        """Return the forward pass on randomly cropped and flipped training images. It does not synchronise."""

        def forward(model: nn.Module, examples: Tensor, seeds: Tensor) -> Outputs:
            pixels, labels = self.data.train.gather(examples)
            changed = cropped_and_flipped(pixels, seeds, crop=config.crop, flip=config.flip)
            return self._outputs_of(model, changed, labels)

        return forward

    def teacher(self, model: nn.Module) -> Teacher:
        """Return a function from training images to the current logits of this model, in eval mode.

        Images never change, so each one passes through the model once, here, in evaluation batches. Its logits are thus
        bitwise identical for every batch and after a restart.
        """
        logits = self._evaluated_logits(model, self.data.train, torch.arange(len(self.data.train)))
        return lambda examples: logits.index_select(0, indices_on(logits.device, examples))

    def perturbed_teacher(self, model: nn.Module, perturbation: float) -> Teacher:
        """Return a function from forget images to the current logits of this model for images near them."""
        forget = self._splits["forget"]
        batches = map(self.data.train.gather, forget.split(self._batch_size))
        with eval_mode(model):
            logits = perturbed_logits(partial(self._outputs_of, model), batches, perturbation)
        return lambda examples: logits[indices_on(self.device, torch.searchsorted(forget, examples))]

    def evaluate(self, model: nn.Module, share: Share, *, subset: int | None = None) -> Measured:
        """Evaluate the model on retain, forget and test images, in eval mode, which is reset afterwards.

        Test images of classes that are not in the retain set are excluded, as in SalUn (arXiv:2310.12508), except for
        the accuracy on the class to forget. With ``subset``, only accuracy, loss, entropy and UA are computed, on the
        same random images of each split every time. The losses on the forget images are returned as item values. Each
        rank runs its part of the images. Rank 0 computes the metrics for all ranks, so that the attack is fitted once.
        Reasons for NaN metrics are kept, and logged on rank 0.
        """
        splits: dict[str, Outputs] = {}
        for name, (source, indices) in self._measured(subset).items():
            mine = indices.tensor_split(share.size)[share.rank]
            logits = share.gather_rows(self._evaluated_logits(model, source, mine))
            labels = source.labels.index_select(0, indices.to(self.device))
            splits[name] = _one_item_each(logits, labels)
        validation = (names.VALIDATION_ACCURACY,) if len(self._validation) else ()
        order = (*(ALL if subset is None else CHEAP), *validation)
        measures: Measures = {}
        items = {names.FORGET_LOSSES: "forget", **({names.TEST_LOSSES: "test"} if subset is None else {})}
        losses: dict[str, list[float]] = {}
        if share.rank == 0:
            measures = (
                all_measures(splits, forgotten_class=self._forgotten_class, seed=self._seed)
                if subset is None
                else cheap_measures(splits)
            )
            if validation:
                outputs = splits[VALIDATION]
                measures[names.VALIDATION_ACCURACY] = accuracy(outputs.logits, outputs.labels)
            losses = {name: exact_losses(splits[split]) for name, split in items.items()}
            self._log_reasons(measures)
        values = from_first_rank(share, [measures[name] for name in order if measures], self.device)
        losses = {name: from_first_rank(share, losses.get(name, []), self.device) for name in items}
        return Measured(measures or dict(zip(order, values, strict=True)), losses)

    def compare(self, measures: Measures, original: Measures | None, reference: Measures | None) -> Measures:
        """Return the sweep's objectives, and `avg_gap` if the confidence attack was measured.

        Without a reference, a model trained without a class is assumed to have forget accuracy 0 on it; its losses are
        unknown, and `forget_quality` is undefined. For other forget sets, the original's losses on test images stand
        for the reference's, and `forget_accuracy_quality` is undefined.
        """
        forget_accuracy = names.accuracy_of("forget")
        expected: float = Undefined("there is no reference")
        if reference is not None:
            expected = reference[forget_accuracy]
        elif self._whole_class:
            expected = 0.0
        compared: Measures = {
            **self._forget_quality(measures, original, reference),
            names.RETAIN_UTILITY: measures.get(
                names.VALIDATION_ACCURACY, measures[names.accuracy_of("test")]
            ),
            names.FORGET_ACCURACY_QUALITY: comparison.score_quality(measures[forget_accuracy], expected),
        }
        if names.MIA_CONFIDENCE in measures:
            compared[names.AVG_GAP] = (
                comparison.avg_gap(measures, reference)
                if reference is not None
                else Undefined("there is no reference")
            )
        self._log_reasons(compared)
        return compared

    def _forget_quality(
        self, measures: Measures, original: Measures | None, reference: Measures | None
    ) -> Measures:
        if reference is None and (self._whole_class or original is None):
            return {names.FORGET_QUALITY: Undefined("there is no reference")}
        if reference is None:
            assert original is not None
            parts = ((self.data.train, self._splits["forget"]), (self.data.test, self._test))
            labels = (source.labels[at.to(self.device)].cpu().numpy() for source, at in parts)
            return {names.FORGET_QUALITY: comparison.forget_quality_by_class(measures, original, *labels)}
        size = len(self._splits["forget"])
        return comparison.measured_forget_quality(
            measures, reference, size, lambda subset: self._drawn(subset)["forget"]
        )

    def loading(self, model: nn.Module) -> str:
        """Return the Python code that loads this model from its folder."""
        return loading_code(model, self.data, self._model_config)

    def export(self, model: nn.Module, base: str | None, state: Mapping[str, Tensor]) -> Mapping[str, bytes]:
        """Return a transformers model's configuration and image processor; empty for built-in models."""
        return {} if self._model_config.embedded else exported(model, self.data, self._model_config)

    @property
    def items(self) -> ImageItems:
        """Return the images of the splits, to look at single ones."""
        every = self._measured(None)
        splits = {name: every[name] for name in names.SPLITS}
        return ImageItems(splits, self.data.class_names, self._outputs, self._batch_size)

    def _measured(self, subset: int | None) -> dict[str, tuple[Examples, Tensor]]:
        """Return the images of each split, and their indices."""
        train, test = self.data.train, self.data.test
        found = {
            "retain": (train, self._splits["retain"]),
            "forget": (train, self._splits["forget"]),
            "test": (test, self._test),
            **({VALIDATION: (test, self._validation)} if len(self._validation) else {}),
        }
        if subset is None:
            return {**found, UNSEEN: (test, self._unseen)}
        drawn = self._drawn(subset)
        return {name: (source, at[torch.from_numpy(drawn[name])]) for name, (source, at) in found.items()}

    def _drawn(self, subset: int) -> dict[str, NDArray[np.int64]]:
        """Return the indices of a random subset of each split, the same at every evaluation."""
        sizes = {**{name: len(at) for name, at in self._splits.items()}, "test": len(self._test)}
        sizes[VALIDATION] = len(self._validation)
        generator = np.random.default_rng((self._seed, SUBSET_STREAM))
        return {name: np.sort(generator.permutation(size)[:subset]) for name, size in sizes.items()}

    def _evaluated_logits(self, model: nn.Module, source: Examples, indices: Tensor) -> Tensor:
        """Return the logits in eval mode, float32 ``(k, classes)``; ``k`` may be 0."""
        parts = [torch.empty(0, len(self.data.class_names), device=self.device)]
        with eval_mode(model), torch.inference_mode():
            parts += [
                self._outputs(model, source, batch).logits
                for batch in indices.split(self._batch_size)
                if len(batch)
            ]
        # Outside inference mode, because collectives cannot write to inference tensors.
        return torch.cat(parts)

    def _outputs(self, model: nn.Module, source: Examples, indices: Tensor) -> Outputs:
        return self._outputs_of(model, *source.gather(indices))

    def _outputs_of(self, model: nn.Module, pixels: Tensor, labels: Tensor) -> Outputs:
        images = pixels.float().sub_(self._mean).mul_(self._scale)
        if not self._model_config.channels_last:
            images = images.contiguous()
        low_precision = self._model_config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low_precision):
            logits = logits_of(model, images)
        return _one_item_each(logits.float(), labels)

    def _log_reasons(self, measures: Measures) -> None:
        """Log once per task why a metric is undefined."""
        for item in reasons(measures).items():
            if item not in self._reported:
                self._reported.add(item)
                logger.warning("%s is not defined: %s", *item)


def _one_item_each(logits: Tensor, labels: Tensor) -> Outputs:
    """Wrap image outputs: an image is an example with one item."""
    return Outputs(logits, labels, examples=torch.arange(len(labels), device=labels.device))
