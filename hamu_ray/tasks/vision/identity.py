"""The identity of images, without their content."""

import hashlib
from collections.abc import Sequence

from torch import Tensor

from hamu_ray.tasks.request import stored_images
from hamu_ray.tasks.task import ExampleIdentity
from hamu_ray.tasks.vision.data import HASHED_AT_ONCE, VisionData


def identities_of(data: VisionData, examples: Tensor) -> Sequence[ExampleIdentity]:
    """Return the row and name of training images (int64 ``(k,)``, CPU), and the SHA-256 of each stored file.

    For data without image files, such as the digits, it is the SHA-256 of the pixels: uint8 in the order height,
    width, channels.
    """
    source = data.source
    if source is not None and source.parts:
        rows = [source.stored(row) for row in examples.tolist()]
        files = list(stored_images(source.parts[0], rows))
        if files:
            return [
                ExampleIdentity(
                    f"row {row}{f', {path}' if path else ''}", hashlib.sha256(content).hexdigest()
                )
                for row, (path, content) in zip(rows, files, strict=True)
            ]
    found = []
    for part in examples.split(HASHED_AT_ONCE):
        pixels, _ = data.train.gather(part)
        images = pixels.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        for row, image in zip(part.tolist(), images, strict=True):
            place = row if source is None else source.stored(row)
            found.append(ExampleIdentity(f"row {place}", hashlib.sha256(image.data).hexdigest()))
    return found
