"""Tiny checkpoints in the format of `save_pretrained`: image classifiers trained on their images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

ANIMALS = ("ant", "bee", "cat")
"""Classes of the images, in the order of `imagefolder`."""
SHUFFLED = ("cat", "ant", "bee")
"""The same classes in the order of the checkpoint's outputs."""
SIDE, INPUT = 10, 8
"""Side length in pixels of the images, and of the checkpoint's input."""


def animal_image(kind: int, number: int) -> Image.Image:
    """Return an image of noise with a bright colour per kind."""
    pixels = np.random.default_rng((kind, number)).integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[..., kind] += 120
    return Image.fromarray(pixels)


def write_animals(folder: Path) -> Path:
    """Write six training images and two test images of each kind, in the layout of `imagefolder`; return the folder."""
    for split, numbers in (("train", range(6)), ("test", range(6, 8))):
        for kind, name in enumerate(ANIMALS):
            (folder / split / name).mkdir(parents=True)
            for number in numbers:
                animal_image(kind, number).save(folder / split / name / f"{number}.png")
    return folder


def write_vit(folder: Path, names: Sequence[str] = SHUFFLED, seed: int = 0, steps: int = 60) -> Path:
    """Write a ViT trained on the training images, with its own order of classes and its image processor."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = ViTForImageClassification(
            ViTConfig(
                image_size=INPUT,
                patch_size=4,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                id2label=dict(enumerate(names)),
                label2id={name: number for number, name in enumerate(names)},
            )
        )
        processor: Any = ViTImageProcessor(
            size={"height": INPUT, "width": INPUT}, image_mean=[0.4, 0.3, 0.2], image_std=[0.2, 0.3, 0.4]
        )
        kinds = [kind for kind in range(len(ANIMALS)) for _ in range(6)]
        images = [animal_image(kind, number % 6) for number, kind in enumerate(kinds)]
        pixels = processor(images, return_tensors="pt")["pixel_values"]
        labels = torch.tensor([names.index(ANIMALS[kind]) if ANIMALS[kind] in names else 0 for kind in kinds])
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(model(pixels).logits, labels).backward()
            optimizer.step()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
