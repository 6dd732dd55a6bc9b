"""Optional packages: which extra of the distribution installs them, and what a configuration needs of them."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.vision import DigitsData
from hamu_ray.methods import check_installed

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "images": ("datasets", "huggingface_hub", "torchvision", "transformers"),
    "language": ("datasets", "huggingface_hub", "transformers", "peft", "rouge_score", "datasketch"),
    "certificate": ("cryptography", "fpdf", "rfc8785"),
    "hub": ("huggingface_hub",),
}
"""The modules that each extra installs; those in several extras are installed by each of them."""


BUCKETS: Mapping[str, tuple[str, ...]] = {"s3": ("s3fs",), "gcs": ("gcsfs",)}
"""The same of the extras for storage, which are not in `all`."""


def install(*extras: str) -> str:
    """Return the command that installs an extra, or any one of several."""
    return "or ".join(f"pip install 'hamu-ray[{extra}]' " for extra in extras).rstrip()


def missing(error: ModuleNotFoundError) -> str | None:
    """Return a line that names the extras that install a missing module; None if no extra does."""
    top = (error.name or "").partition(".")[0]
    extras = [extra for extra, modules in {**EXTRAS, **BUCKETS}.items() if top in modules]
    return f"{top} is not installed; {install(*extras)}" if extras else None


def needed(run: RunConfig) -> tuple[str, str] | None:
    """Return the key whose value needs an extra and the extra, or None if every installation has what a run needs."""
    if run.data.task == "language":
        return "data.name", "language"
    if run.data.task == "vision" and not isinstance(run.data, DigitsData):
        return "data.name", "images"
    return ("model.name", "images") if run.data.task == "vision" and run.model.name != "resnet20" else None


def check_packages(run: RunConfig) -> None:
    """Check that the optional packages of a run's data and model are installed, without importing them.

    Raises:
        ValueError: One is missing; one line with the key, the packages and the command that installs them.
    """
    found = needed(run)
    if found is None:
        return
    key, extra = found
    lacking = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if lacking:
        value = run.model.name if key == "model.name" else run.data.name
        raise ValueError(f"{key}: {value} needs {', '.join(lacking)}, not installed; {install(extra)}")


def check_methods(names: Iterable[str]) -> None:
    """Check that the optional packages of methods are installed, without importing them.

    Raises:
        ValueError: One is missing; one line with the key, the packages and the command that installs them.
    """
    for name in names:
        try:
            check_installed(name)
        except ValueError as error:
            raise ValueError(f"method.name: {error}") from error
