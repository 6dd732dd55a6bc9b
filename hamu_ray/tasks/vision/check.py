"""Checks of the data against a configuration, without decoding images or importing torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hamu_ray.config.task.forget import AnyNamed
from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import DataConfig, DigitsData, ForgetClass, ForgetConfig, ImagesData
from hamu_ray.tasks.forecast import check_overlap
from hamu_ray.tasks.models.hub import hub_or_cache, is_local, one_line
from hamu_ray.tasks.vision.classes import output_order
from hamu_ray.tasks.vision.forecast import overlaps
from hamu_ray.tasks.vision.forget import class_index, split_examples
from hamu_ray.tasks.vision.images.labels import DIGITS, check_columns, check_folder, training_labels
from hamu_ray.tasks.vision.images.preprocessing import checkpoint_of, preprocessing_of


def check_vision(
    config: DataConfig, choices: Sequence[tuple[ForgetConfig, int]], model: ModelConfig | None = None
) -> None:
    """Check the data, and that they can provide every forget set, each with the seed of its draws.

    Of a model, check that its files are complete and that its preprocessing and class names fit the data. Of a data set
    on the hub, check only the description unless a request selects rows, because labels would have to be downloaded.

    Raises `ValueError` with one line that names the key and the remedy.
    """
    if isinstance(config, DigitsData):
        _check_class_names(choices, DIGITS)  # immediate; the labels need a second to import scikit-learn
    else:
        check_folder(config)  # likewise before importing datasets
    if model is not None:
        check_model(config, model)
    with _no_progress_bars(config):
        requests = any(isinstance(forget, AnyNamed) for forget, _ in choices)
        if isinstance(config, ImagesData) and not is_local(config.path) and not requests:
            _check_description(config, choices, model)
            return
        labels, names, source = training_labels(config)
        if model is not None:
            output_order(names, model)
        for forget, seed in choices:
            split = split_examples(labels, names, forget, seed, source)
            if not forget.allow_overlap:
                check_overlap(overlaps(config, split), "images")


def check_model(config: DataConfig, model: ModelConfig) -> None:
    """Check that a model's files are complete and match the configured preprocessing; raises `ValueError`."""
    checkpoint = checkpoint_of(model)
    if checkpoint is None:
        return
    checkpoint.check()
    preprocessing_of(config, model)


def _check_description(
    config: ImagesData, choices: Sequence[tuple[ForgetConfig, int]], model: ModelConfig | None
) -> None:
    """Check splits, columns and classes as far as the hub's description of a data set lists them."""
    from datasets import ClassLabel, load_dataset_builder

    try:
        with hub_or_cache(config.path):
            info = load_dataset_builder(config.path, config.subset).info
    except Exception as error:  # builders and the hub's client raise many unrelated types
        raise ValueError(f"data.path: {config.path} cannot be loaded: {one_line(error)}") from error
    for key, split in (("train_split", config.train_split), ("test_split", config.test_split)):
        name = split.partition("[")[0]
        if info.splits and name not in info.splits and "+" not in split:
            raise ValueError(
                f"data.{key}: {config.path} has no split {name}; it has {', '.join(info.splits)}"
            )
    if info.features:
        check_columns(config, list(info.features))
        feature = info.features[config.label_column]
        if isinstance(feature, ClassLabel):
            _check_class_names(choices, feature.names)
            if model is not None:
                output_order(feature.names, model)


def _check_class_names(choices: Sequence[tuple[ForgetConfig, int]], names: Sequence[str]) -> None:
    for forget, _ in choices:
        if isinstance(forget, ForgetClass):
            class_index(forget.label, names)


@contextmanager
def _no_progress_bars(config: DataConfig) -> Iterator[None]:
    """Within this context, `datasets` shows no progress bars."""
    if isinstance(config, DigitsData):
        yield
        return
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
