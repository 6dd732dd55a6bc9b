import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import crop as cropped
from torchvision.transforms.functional import hflip, pad

from hamu_ray.methods.draws import seeds_of
from hamu_ray.tasks.vision.images.augmentation import cropped_and_flipped

CPU = torch.device("cpu")


def images_of(count: int, height: int = 6, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def variants(image: Tensor, crop: int, flip: bool) -> dict[bytes, tuple[int, int, bool]]:
    """Return every crop that torchvision's transforms can return, mirrored or not, by its content."""
    height, width = image.shape[-2:]
    found = {}
    for top in range(2 * crop + 1):
        for left in range(2 * crop + 1):
            part = cropped(pad(image, [crop]), top, left, height, width)
            for mirrored in (False, True)[: 1 + flip]:
                content = hflip(part) if mirrored else part
                found[content.numpy().tobytes()] = (top, left, mirrored)
    return found


def test_each_variant_of_torchvision_is_drawn_equally_often() -> None:
    count = 9_000
    image = images_of(1)
    seeds = seeds_of(torch.arange(count), 3, CPU)
    known = variants(image[0], 1, flip=True)
    assert len(known) == 18
    changed = cropped_and_flipped(image.expand(count, -1, -1, -1), seeds, crop=1, flip=True)
    drawn = torch.tensor([list(known).index(one.contiguous().numpy().tobytes()) for one in changed])
    counts = drawn.bincount(minlength=18).double()
    statistic = ((counts - count / 18) ** 2 / (count / 18)).sum()
    assert statistic < 40.8, "chi-squared with 17 degrees of freedom, p = 0.001"


@pytest.mark.parametrize(("crop", "flip", "expected"), [(0, False, 1), (0, True, 2), (2, False, 25)])
def test_either_alone(crop: int, flip: bool, expected: int) -> None:
    image = images_of(1)
    seeds = seeds_of(torch.arange(500), 3, CPU)
    changed = cropped_and_flipped(image.expand(500, -1, -1, -1), seeds, crop=crop, flip=flip)
    found = {one.contiguous().numpy().tobytes() for one in changed}
    assert found == set(variants(image[0], crop, flip))
    assert len(found) == expected


def test_an_image_is_changed_alike_in_any_company() -> None:
    images, examples = images_of(12), torch.arange(100, 112)
    seeds = seeds_of(examples, 7, CPU)
    together = cropped_and_flipped(images, seeds, crop=2, flip=True)
    order = torch.tensor([5, 0, 11])
    few = cropped_and_flipped(images[order], seeds_of(examples[order], 7, CPU), crop=2, flip=True)
    assert torch.equal(few, together[order])
    assert together.is_contiguous(memory_format=torch.channels_last)
    assert together.dtype == torch.uint8
    other = cropped_and_flipped(images, seeds_of(examples, 8, CPU), crop=2, flip=True)
    assert not torch.equal(other, together), "another epoch"
