"""Measuring an image classifier at CIFAR-10's size: the device's share, the CPU's, and both over a trial."""

import time
from collections.abc import Callable, Iterator

import torch

from hamu_ray.metrics.classification import example_losses, true_class_confidences
from hamu_ray.metrics.membership import auc_loss, mia_confidence
from hamu_ray.tasks.task import Outputs
from hamu_ray.tasks.vision.measures import cheap_measures
from scripts.gpu.images import CLASSES, RandomImages
from scripts.gpu.machine import Machine
from scripts.gpu.record import Record, judged, measured, not_run

TRAIN, TEST = 50_000, 10_000
FORGET_SHARE = 0.1
TRIAL = 225
"""Steps of the paper's trial: 25 epochs of nine batches of 5,000."""


def check(machine: Machine) -> Iterator[Record]:
    part = machine.sized(cuda=1, cpu=25)
    yield from _outputs(part, machine)
    yield from _metrics(machine)
    step = machine.found.get(f"step 5000 {machine.precision}")
    if step is None:
        yield not_run("share of a trial", "no step of 2 x 5000 images was measured")
        return
    evaluation = machine.found["outputs"] * (TRAIN + TEST) + machine.found["metrics"]
    yield measured(
        "share of a trial", **{"share": evaluation / (evaluation + TRIAL * step), "seconds": evaluation}
    )


def _outputs(part: int, machine: Machine) -> Iterator[Record]:
    images = RandomImages(
        TRAIN // part,
        machine.device,
        test=TEST // part,
        precision=machine.precision,
        forget_share=FORGET_SHARE,
    )
    model = images.build_model(0)
    seconds = machine.seconds(lambda: images.outputs(model), rounds=machine.sized(cuda=3, cpu=1))
    count = (TRAIN + TEST) // part
    machine.found["outputs"] = seconds / count
    yield measured("outputs", images=count, seconds=seconds, **{"images/s": count / seconds})


def _metrics(machine: Machine) -> Iterator[Record]:
    """Compute the metrics of random outputs at the full size, on the device and, most of their time, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    forgotten = round(FORGET_SHARE * TRAIN)
    outputs = {}
    for name, count in (("retain", TRAIN - forgotten), ("forget", forgotten), ("test", TEST)):
        logits, labels = torch.randn(count, CLASSES, generator=generator), torch.arange(count) % CLASSES
        # What was trained on is known better.
        logits[torch.arange(count), labels] += 1.0 if name == "test" else 2.0
        where = torch.arange(count, device=machine.device)
        outputs[name] = Outputs(logits.to(machine.device), labels.to(machine.device), where)
    seconds = {"cheap": _seconds(lambda: cheap_measures(outputs))}
    losses = {name: example_losses(of.logits, of.labels).cpu().numpy() for name, of in outputs.items()}
    aucs: list[float] = []
    for split in ("retain", "test"):
        seconds["auc_loss"] = _seconds(lambda: aucs.append(auc_loss(losses["forget"], losses[split])))  # noqa: B023
    confidences = [
        true_class_confidences(outputs[name].logits, outputs[name].labels).cpu().numpy()
        for name in ("retain", "test", "forget")
    ]
    seconds["mia_confidence"] = _seconds(lambda: mia_confidence(*confidences, seed=0))
    machine.found["metrics"] = seconds["cheap"] + 2 * seconds["auc_loss"] + seconds["mia_confidence"]
    good = abs(aucs[0] - 0.5) < 0.02 and 0.6 < aucs[1] < 1
    numbers = {f"seconds {name}": value for name, value in seconds.items()}
    yield judged(
        "metrics", good, f"loss AUCs of {aucs[0]:.3f} and {aucs[1]:.3f}, not 0.5 and more", **numbers
    )


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
