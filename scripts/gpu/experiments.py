"""The paper's experiments as amounts of work; the tests hold them against `search_spaces/`."""

from collections.abc import Mapping
from typing import NamedTuple

IMAGES, FORGOTTEN, TEST = 50_000, 5_000, 10_000
"""Training images of CIFAR-10, those of a class, and test images."""
BATCH = 5_000
MODEL_EPOCHS = 50
"""Of the original model and its reference."""


class Vision(NamedTuple):
    """An experiment on CIFAR-10."""

    trials: int
    forget_sets: int
    """With a seed each: a pair of models is trained for every one."""
    epochs: int = 25
    batches: tuple[int, ...] = (BATCH,)
    """Sizes that the trials share out equally."""
    evaluated: bool = True

    def steps(self, batch: int) -> int:
        """Return the steps of a trial."""
        return self.epochs * -(-(IMAGES - FORGOTTEN) // batch)


VISION: Mapping[str, Vision] = {
    "rho_sweep": Vision(105, 15),
    "constraint_sweep": Vision(60, 3),
    "job_grid": Vision(360, 9, epochs=50),
    "full_grad_ablation": Vision(12, 3),
    "stopping_criterion": Vision(12, 3),
    "batch_size_ablation": Vision(30, 3, batches=(128, 256, 512, 1024, 2048)),
    "optimizer_ablation": Vision(6, 3),
    "timing_all": Vision(51, 3, epochs=1, evaluated=False),
    "additional_baselines": Vision(30, 3),
}

PAIR_GRADIENTS = MODEL_EPOCHS * (IMAGES + IMAGES - FORGOTTEN)
"""Images whose gradient an original model and its reference are trained with."""

TEXT_STEPS = 720
"""Steps of a trial on WaterDrum-TOFU: 10 epochs of 72 batches of 50."""
ANSWERS = 4 * 400
"""Greedy answers of a full evaluation at most: 400 of each split and evaluation set."""
LANGUAGE: Mapping[str, int] = {
    "constraint_sweep": 60,
    "full_grad_ablation": 12,
    "stopping_criterion": 12,
    "optimizer_ablation": 12,
    "additional_baselines": 30,
    "semantic_similarity_sweep": 81,
}
"""Trials of 2 x 50 answers a step."""


class Speeds(NamedTuple):
    """Seconds that a device takes for images."""

    steps: Mapping[int, float]
    """Of a step, by batch."""
    image: float
    """Of the gradient of one more image in a large batch."""
    output: float
    """Of an image in an evaluation."""
    metrics: float
    """Of the metrics of a full evaluation."""

    def step(self, batch: int) -> float:
        """Return the seconds of a step: linear between the sizes that were measured, never faster than the smallest."""
        sizes = sorted(self.steps)
        above = next((size for size in sizes if size >= batch), None)
        if above is None:
            return self.steps[sizes[-1]] * batch / sizes[-1]
        below = max((size for size in sizes if size <= batch), default=above)
        if below == above:
            return self.steps[above]
        part = (batch - below) / (above - below)
        return self.steps[below] + part * (self.steps[above] - self.steps[below])


def hours(experiment: Vision, speeds: Speeds) -> tuple[float, float]:
    """Return the GPU hours of an experiment's trials, and of its pairs of models."""
    evaluation = (IMAGES + TEST) * speeds.output + speeds.metrics if experiment.evaluated else 0.0
    step_seconds = [experiment.steps(batch) * speeds.step(batch) for batch in experiment.batches]
    trial = sum(step_seconds) / len(step_seconds) + evaluation
    pair = PAIR_GRADIENTS * speeds.image + 2 * ((IMAGES + TEST) * speeds.output + speeds.metrics)
    return experiment.trials * trial / 3600, experiment.forget_sets * pair / 3600


GRADIENT_BYTES, OUTPUT_BYTES = 7.18e6, 2.99e6
"""Bytes that the gradient of an image moves, and its output in an evaluation: ResNet-20 with projections in bfloat16,
eager, each operator reading its inputs from memory and writing its result."""
LAUNCHES = 0.015
"""Seconds of a step at least: a few hundred operators for each of two gradients, launched one after the other."""
METRICS = 8.0
"""Seconds of a full evaluation's metrics, nearly all of them the membership attack's on one core."""


def bandwidth_bound(bandwidth: float) -> Speeds:
    """Return the speeds of a device that moves so many bytes a second and is held up by nothing else."""
    image = GRADIENT_BYTES / bandwidth
    smallest = round(LAUNCHES / (2 * image))
    steps = {smallest: LAUNCHES, 2 * smallest: 2 * LAUNCHES}
    return Speeds(steps, image, OUTPUT_BYTES / bandwidth, METRICS)
