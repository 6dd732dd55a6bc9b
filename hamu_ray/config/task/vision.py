"""Image-classification data sets and their forget sets."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hamu_ray.config.schema import Section
from hamu_ray.config.task.forget import (
    DrawnForgetSection,
    ForgetFiles,
    ForgetIds,
    ForgetIndices,
    ForgetRandom,
    ForgetWhere,
)

Channels = Annotated[tuple[float, ...], Field(strict=False)]


class DigitsData(Section):
    """scikit-learn's bundled 1,797 handwritten digits; no download needed."""

    task: ClassVar[str] = "vision"
    forget_kinds: ClassVar[tuple[str, ...]] = ("class", "random", "indices")
    usual: ClassVar[tuple[Channels, Channels]] = ((0.3053,), (0.3759,))
    """Mean and standard deviation of the pixels of all 1,797 images, scaled to 0..1, unless a checkpoint has its own.
    """
    name: Literal["digits"] = "digits"
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Fraction of the images held out for test, stratified by class; the same draw for every seed of a run."""
    validation: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the test examples that a sweep searches and selects by: `retain_utility` is measured on it, and all
    other metrics of the test set on the rest, which then chose nothing. The same draw for every seed. 0: none."""


class ImagesData(Section):
    """Any image-classification data set that `datasets.load_dataset` can load, from the hub or a folder."""

    task: ClassVar[str] = "vision"
    forget_kinds: ClassVar[tuple[str, ...]] = ("class", "random", "indices", "where", "ids", "files")
    usual: ClassVar[tuple[Channels, Channels]] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """Mean and standard deviation if neither the file nor a checkpoint provides them."""
    name: Literal["images"] = "images"
    path: str
    """Hub name or folder, passed to `datasets.load_dataset`."""
    subset: str | None = None
    """Name of the data set's configuration, if it has several."""
    train_split: str = "train"
    """Split of the training images."""
    test_split: str = "test"
    """Split of the test images."""
    image_column: str = "image"
    """Column of the images."""
    label_column: str = "label"
    """Column of the labels: `datasets.ClassLabel`, integers or strings (classes in sorted order)."""
    mean: Channels | None = None
    """Mean per channel of the pixels scaled to 0..1; its length (1 or 3) selects greyscale or colour. Null: the
    checkpoint's (`preprocessor_config.json`), or 0.5 for each of three channels if there is none.
    """
    std: Channels | None = None
    """Standard deviation per channel of the pixels scaled to 0..1; same rules."""
    image_size: int | None = Field(default=None, ge=4)
    """Side length in pixels of the square that images are resized to. Null: the checkpoint's image processor determines
    the size; without one, images are not resized and must have equal sizes.
    """
    train_limit: int | None = Field(default=None, ge=1)
    """Maximum number of training images, with equal numbers per class if possible."""
    test_limit: int | None = Field(default=None, ge=1)
    """Maximum number of test images, likewise."""
    validation: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the test examples that a sweep searches and selects by: `retain_utility` is measured on it, and all
    other metrics of the test set on the rest, which then chose nothing. The same draw for every seed. 0: none."""

    @model_validator(mode="after")
    def _channels_agree(self) -> "ImagesData":
        given = [len(numbers) for numbers in (self.mean, self.std) if numbers is not None]
        channels = (
            given if len(given) != 1 else [given[0], 3]
        )  # mean or std given alone implies the default of the other for colour images
        if len(set(channels)) > 1 or not set(channels) <= {1, 3}:
            raise ValueError(
                "mean and std need one number per channel, 1 for greyscale or 3 for colour images, "
                f"found {' and '.join(str(len(n) if n is not None else 3) for n in (self.mean, self.std))}"
            )
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be above zero in every channel, found {list(self.std)}")
        return self


class Cifar10Data(ImagesData):
    """CIFAR-10, from the hub or from a folder in the hub data set's layout."""

    usual: ClassVar[tuple[Channels, Channels]] = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    name: Literal["cifar10"] = "cifar10"  # type: ignore[assignment]
    path: str = "uoft-cs/cifar10"
    image_column: str = "img"


class Cifar100Data(ImagesData):
    """CIFAR-100 with its 100 fine classes, from the hub or from a folder in the hub data set's layout.

    `label_column: coarse_label` takes its 20 superclasses.
    """

    usual: ClassVar[tuple[Channels, Channels]] = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    name: Literal["cifar100"] = "cifar100"  # type: ignore[assignment]
    path: str = "uoft-cs/cifar100"
    image_column: str = "img"
    label_column: str = "fine_label"


class SvhnData(ImagesData):
    """SVHN's cropped digits, from the hub or from a folder in the hub data set's layout.

    A folder of its Parquet files alone, without the data set's `README.md`, needs `subset: null`.
    """

    usual: ClassVar[tuple[Channels, Channels]] = ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))
    name: Literal["svhn"] = "svhn"  # type: ignore[assignment]
    path: str = "ufldl-stanford/svhn"
    subset: str | None = "cropped_digits"


class TinyImagenetData(ImagesData):
    """TinyImageNet, 200 classes by their WordNet ids, from the hub or from a folder in the hub data set's layout.

    Its test images have no labels: as usual, the validation images are tested on.
    """

    usual: ClassVar[tuple[Channels, Channels]] = ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
    name: Literal["tiny-imagenet"] = "tiny-imagenet"  # type: ignore[assignment]
    path: str = "zh-plus/tiny-imagenet"
    test_split: str = "valid"


AnyImages = DigitsData | ImagesData | Cifar10Data | Cifar100Data | SvhnData | TinyImagenetData
DataConfig = Annotated[AnyImages, Field(discriminator="name")]


class ForgetClass(DrawnForgetSection):
    """A class, optionally with a fraction rho replaced by other images."""

    kind: Literal["class"] = "class"
    label: int | str = 0
    """The class: its index, or its name if the data set names its classes."""
    rho: float = Field(default=0.0, ge=0, le=1)
    """0: the whole class. Between 0 and 1: the same number of images, with this fraction replaced by others. 1: as many
    images, drawn at random from the whole training set.
    """
    swap_from: Literal["other_classes", "rest"] = "other_classes"
    """Source of the replacement images for rho between 0 and 1. `other_classes`: rho is exactly the fraction of other
    classes. `rest`: all images outside the current forget set, including those removed from the class, as in the HAMU
    paper's experiments; rho 1 is then the end of the same sequence of draws.
    """


ForgetConfig = Annotated[
    ForgetClass | ForgetRandom | ForgetIndices | ForgetWhere | ForgetIds | ForgetFiles,
    Field(discriminator="kind"),
]
