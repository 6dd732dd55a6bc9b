"""Measuring an image classifier at CIFAR-10's size: the device's share, the CPU's, and both over a trial."""

import time
from collections.abc import Iterator

import torch

from hamu_ray.metrics.membership import mia_confidence
from hamu_ray.tasks.task import Outputs
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
    step = machine.found.get("step 5000 bfloat16")
    if step is None:
        yield not_run("share of a trial", "no step of 2 x 5000 images was measured")
        return
    evaluation = machine.found["outputs"] * (TRAIN + TEST) + machine.found["metrics"]
    yield measured(
        "share of a trial", **{"share": evaluation / (evaluation + TRIAL * step), "seconds": evaluation}
    )


def _outputs(part: int, machine: Machine) -> Iterator[Record]:
    images = RandomImages(
        TRAIN // part, machine.device, test=TEST // part, precision="bfloat16", forget_share=FORGET_SHARE
    )
    model = images.build_model(0)
    seconds = machine.seconds(lambda: images.outputs(model), rounds=machine.sized(cuda=3, cpu=1))
    count = (TRAIN + TEST) // part
    machine.found["outputs"] = seconds / count
    yield measured("outputs", images=count, seconds=seconds, **{"images/s": count / seconds})


def _metrics(machine: Machine) -> Iterator[Record]:
    """Compute the metrics of random outputs at the full size: they hang on the CPU."""
    generator = torch.Generator().manual_seed(0)
    images = RandomImages(CLASSES, machine.device)
    forgotten = round(FORGET_SHARE * TRAIN)
    outputs = {}
    for name, count in (("retain", TRAIN - forgotten), ("forget", forgotten), ("test", TEST)):
        logits = torch.randn(count, CLASSES, generator=generator).to(machine.device)
        labels = (torch.arange(count) % CLASSES).to(machine.device)
        # Members are known better.
        logits[torch.arange(count, device=machine.device), labels] += 1.0 if name == "test" else 2.0
        outputs[name] = Outputs(logits, labels, torch.arange(count, device=machine.device))
    cheap = machine.seconds(lambda: images.measures(outputs, full=False), rounds=1)
    confidences = {
        name: of.logits.softmax(1).gather(1, of.labels[:, None])[:, 0].cpu().numpy()
        for name, of in outputs.items()
    }
    began = time.perf_counter()
    mia_confidence(confidences["retain"], confidences["test"], confidences["forget"], seed=0)
    attack = time.perf_counter() - began
    began = time.perf_counter()
    found = images.measures(outputs, full=True)
    full = time.perf_counter() - began
    machine.found["metrics"] = full
    good = 0.5 < found["auc_loss_forget_test"] < 1
    numbers = {"seconds": full, "seconds cheap": cheap, "seconds mia_confidence": attack}
    yield judged("metrics", good, "members of random data are not told from others", **numbers)
