"""Capture the gradients, or a whole step, as a CUDA graph: ``python -m scripts.gpu.capture gradients``.

Prints the times as JSON; what cannot be captured ends it with PyTorch's error.
"""

import json
import sys
from pathlib import Path

import torch

from scripts.gpu.images import RandomImages
from scripts.gpu.machine import Machine
from scripts.gpu.plans import gradients_of, plan_of, stepper_of

BATCH = 500


def main(what: str) -> None:
    """Capture and replay."""
    machine = Machine(torch.device("cuda"), Path())
    images = RandomImages(4 * BATCH, machine.device)
    model = images.build_model(0)
    if what == "gradients":
        # Indices on the device: pinning them is no work that a graph can hold.
        batches = [images.splits[role][:BATCH].to(machine.device) for role in ("retain", "forget")]

        def call() -> None:
            gradients_of(images, model, batches)

    else:
        stepper = stepper_of(images, model, plan_of(images, batch=BATCH))

        def call() -> None:
            stepper(1)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    eager = machine.seconds(call)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    replayed = machine.seconds(graph.replay)
    print(json.dumps({"ms": 1e3 * eager, "ms replayed": 1e3 * replayed, "ratio": replayed / eager}))


if __name__ == "__main__":
    main(sys.argv[1])
