"""Image-classification data sets and which of their examples are to be forgotten."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hamu_ray.config.schema import Section

Channels = Annotated[tuple[float, ...], Field(strict=False)]


class DigitsData(Section):
    """scikit-learn's bundled 1,797 handwritten digits: needs no download."""

    task: ClassVar[str] = "vision"
    forget_kinds: ClassVar[tuple[str, ...]] = ("class", "random", "indices")
    name: Literal["digits"] = "digits"
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the images held out for test, stratified by class; the same draw for every seed of a run."""


class ImagesData(Section):
    """Any image-classification data set that `datasets.load_dataset` can load, from the hub or a folder."""

    task: ClassVar[str] = "vision"
    forget_kinds: ClassVar[tuple[str, ...]] = ("class", "random", "indices")
    name: Literal["images"] = "images"
    path: str
    """Hub name or folder, handed to `datasets.load_dataset`."""
    subset: str | None = None
    """Name of the data set's configuration, where it has several."""
    train_split: str = "train"
    """Split that holds the training images."""
    test_split: str = "test"
    """Split that holds the test images."""
    image_column: str = "image"
    """Column of the images."""
    label_column: str = "label"
    """Column of the labels: `datasets.ClassLabel`, integers or strings (classes in sorted order)."""
    mean: Channels = (0.5, 0.5, 0.5)
    """Mean per channel of the pixels scaled to 0..1; its length (1 or 3) decides grey or colour."""
    std: Channels = (0.5, 0.5, 0.5)
    """Standard deviation per channel of the pixels scaled to 0..1."""
    image_size: int | None = Field(default=None, ge=4)
    """Side in pixels of the square that images are resized to; null takes them as they are (all alike)."""
    train_limit: int | None = Field(default=None, ge=1)
    """Use only so many training images, the same number of each class where possible."""
    test_limit: int | None = Field(default=None, ge=1)
    """Use only so many test images, likewise."""

    @model_validator(mode="after")
    def _channels_agree(self) -> "ImagesData":
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError(
                "mean and std need one number per channel each, 1 for grey images or 3 for colour, "
                f"found {len(self.mean)} and {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above zero in every channel, found {list(self.std)}")
        return self


class Cifar10Data(ImagesData):
    """CIFAR-10, from the hub or from a folder in the hub data set's layout."""

    name: Literal["cifar10"] = "cifar10"  # type: ignore[assignment]
    path: str = "uoft-cs/cifar10"
    image_column: str = "img"
    mean: Channels = (0.4914, 0.4822, 0.4465)
    std: Channels = (0.2023, 0.1994, 0.2010)


DataConfig = Annotated[DigitsData | ImagesData | Cifar10Data, Field(discriminator="name")]


class ForgetClass(Section):
    """A class is forgotten; a share rho of it is swapped for other images."""

    kind: Literal["class"] = "class"
    label: int | str = 0
    """The class: its number, or its name where the data set names its classes."""
    rho: float = Field(default=0.0, ge=0, le=1)
    """0: the whole class. Between: the same number of images, that share of them swapped for others.
    1: as many images drawn at random from the whole training set."""
    swap_from: Literal["other_classes", "rest"] = "other_classes"
    """Where the images that are swapped in are drawn from, for rho between 0 and 1. `other_classes`: rho is exactly
    the share of other classes. `rest`: from all images that are not in the forget set by then, those taken out of
    the class included, as in the HAMU paper's experiments; rho 1 is then the end of the same series of draws."""


class ForgetRandom(Section):
    """A random share of the training set is forgotten."""

    kind: Literal["random"] = "random"
    share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training images."""


class ForgetIndices(Section):
    """The training examples whose positions a file lists are forgotten."""

    kind: Literal["indices"] = "indices"
    path: str
    """Text file with a position (from 0) on each line, among the training images that are used:
    with `train_limit` those that are left."""


ForgetConfig = Annotated[ForgetClass | ForgetRandom | ForgetIndices, Field(discriminator="kind")]
