"""The tasks by name. A new task needs a folder next to `vision` and a line in `TASKS`.

Nothing here imports torch before data are loaded, because configurations must be checked quickly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.custom import CustomData, CustomModelConfig
from hamu_ray.config.task.data import AnyData, AnyForget, AnyModel
from hamu_ray.config.task.language import TextSection
from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import DataConfig, DigitsData
from hamu_ray.metrics.custom_names import CUSTOM
from hamu_ray.metrics.language_names import LANGUAGE
from hamu_ray.metrics.names import ENGINE, VISION, Metric
from hamu_ray.tasks.custom.check import check_custom, forecast_custom
from hamu_ray.tasks.forecast import Forecast
from hamu_ray.tasks.language.check import check_language
from hamu_ray.tasks.language.forecast import forecast_language
from hamu_ray.tasks.vision.check import check_vision
from hamu_ray.tasks.vision.forecast import forecast_vision
from hamu_ray.tasks.vision.images.preprocessing import preprocessing_of

if TYPE_CHECKING:
    import torch

    from hamu_ray.tasks.custom.data import CustomTaskData
    from hamu_ray.tasks.language.data import LanguageData
    from hamu_ray.tasks.outline import Outline
    from hamu_ray.tasks.task import Task
    from hamu_ray.tasks.vision.data import VisionData


class TaskData(Protocol):
    """A task's data, loaded on a device and shared by all trials of a worker."""

    task: ClassVar[str]


@dataclass(frozen=True)
class TaskKind:
    """The definition of a task: how its data are checked, summarised, identified and loaded; its models, with and
    without weights; its metrics.
    """

    check: Callable[[Any, Sequence[tuple[Any, int]], Any], None]
    sample: Callable[[Any], None]
    forecast: Callable[[Any, Any, int, Any, Path | None], Forecast]
    data_key: Callable[[Any, Any], str]
    load: Callable[[Any, Any, Path | None], Any]
    build: Callable[..., "Task"]
    outline: Callable[[RunConfig, Forecast | None], "Outline"]
    metrics: Mapping[str, Metric]


def _sample_vision(config: DataConfig) -> None:
    from hamu_ray.tasks.vision.images.loading import check_images

    if not isinstance(config, DigitsData):
        check_images(config)


def _sample_nothing(config: object) -> None:
    """Texts and a custom task's examples are read by the forecast."""


def _vision_key(config: DataConfig, model: ModelConfig) -> str:
    preprocessing = preprocessing_of(config, model)
    return f"{config.model_dump_json()} {preprocessing.mean} {preprocessing.std} {preprocessing.resizing}"


def _load_vision(config: DataConfig, model: ModelConfig, cache: Path | None) -> "VisionData":
    from hamu_ray.tasks.vision.images.digits import load_digits_data
    from hamu_ray.tasks.vision.images.loading import load_images_data

    preprocessing = preprocessing_of(config, model)
    if isinstance(config, DigitsData):
        return load_digits_data(config, preprocessing)
    return load_images_data(config, cache, preprocessing)


def _build_vision(data: "VisionData", *, parameters: str, convention: None, **options: Any) -> "Task":
    from hamu_ray.tasks.vision.task import VisionTask

    assert parameters == "all", "the configuration allows adapters only for language models"
    return VisionTask(data, **options)


def _language_key(config: TextSection, model: object) -> str:
    return config.model_dump_json()


def _load_language(config: TextSection, model: object, cache: Path | None) -> "LanguageData":
    from hamu_ray.tasks.language.data import LanguageData

    return LanguageData(config, cache)


def _build_language(data: "LanguageData", **options: Any) -> "Task":
    from hamu_ray.tasks.language.task import LanguageTask

    return LanguageTask(data, **options)


def _custom_key(config: CustomData, model: object) -> str:
    return config.digest


def _load_custom(config: CustomData, model: object, cache: Path | None) -> "CustomTaskData":
    from hamu_ray.tasks.custom.data import load_custom

    return load_custom(config)


def _build_custom(
    data: "CustomTaskData",
    *,
    forget: object,
    model: CustomModelConfig,
    batch_size: int,
    seed: int,
    parameters: str,
    convention: None,
) -> "Task":
    from hamu_ray.tasks.custom.task import CustomTask

    return CustomTask(data, model=model, batch_size=batch_size, seed=seed)


def _outline_vision(run: RunConfig, forecast: Forecast | None) -> "Outline":
    from hamu_ray.tasks.vision.outline import outline_vision

    return outline_vision(run, forecast)


def _outline_language(run: RunConfig, forecast: Forecast | None) -> "Outline":
    from hamu_ray.tasks.language.outline import outline_language

    return outline_language(run, forecast)


def _outline_custom(run: RunConfig, forecast: Forecast | None) -> "Outline":
    raise ValueError("model: a model of Python objects is known only once it is built")


TASKS: Mapping[str, TaskKind] = {
    "vision": TaskKind(
        check_vision,
        _sample_vision,
        forecast_vision,
        _vision_key,
        _load_vision,
        _build_vision,
        _outline_vision,
        VISION,
    ),
    "language": TaskKind(
        check_language,
        _sample_nothing,
        forecast_language,
        _language_key,
        _load_language,
        _build_language,
        _outline_language,
        LANGUAGE,
    ),
    "custom": TaskKind(
        check_custom,
        _sample_nothing,
        forecast_custom,
        _custom_key,
        _load_custom,
        _build_custom,
        _outline_custom,
        CUSTOM,
    ),
}


def check_data(
    config: AnyData, choices: Sequence[tuple[AnyForget, int]], model: AnyModel | None = None
) -> None:
    """Check that data can provide each forget set with its seed, and that the model fits them if it is given.

    Raises `ValueError` with one line that names the key and the remedy.
    """
    TASKS[config.task].check(config, choices, model)


def check_sample(config: AnyData) -> None:
    """Read a sample of local data, for dry runs, which load nothing; raises `ValueError` as `check_data`."""
    TASKS[config.task].sample(config)


def data_key(config: AnyData, model: AnyModel) -> str:
    """Return what the loaded data depend on, as text; for images this includes a checkpoint's preprocessing."""
    return TASKS[config.task].data_key(config, model)


def forecast_data(
    config: AnyData, forget: AnyForget, seed: int, model: AnyModel, cache: Path | None = None
) -> Forecast:
    """Return what a run with these sections will forget, retain and test.

    ``cache`` is a folder for results of slow preparation steps. Raises `ValueError` with one line that names the key
    and the remedy.
    """
    return TASKS[config.task].forecast(config, forget, seed, model, cache)


def outline_of(run: RunConfig, forecast: Forecast | None = None) -> "Outline":
    """Return a run's model without its weights, and its passes; ``forecast`` is that of its data, if it is known.

    Raises `ValueError`, in one line, if neither data nor configuration determine them.
    """
    return TASKS[run.data.task].outline(run, forecast)


def load_data(
    config: AnyData, device: "torch.device", cache: Path | None = None, model: AnyModel | None = None
) -> TaskData:
    """Load the data onto a device, once per worker, preprocessed for the model.

    ``cache`` is a folder for results of slow preparation steps; with a ``model`` of None, data are not preprocessed.
    Raises `ValueError` with one line that names the key and the remedy.
    """
    return TASKS[config.task].load(config, model or ModelConfig(), cache).to(device)


def build_task(
    data: TaskData,
    *,
    forget: AnyForget,
    model: AnyModel,
    batch_size: int,
    seed: int,
    parameters: Literal["all", "lora"] = "all",
    convention: str | None = None,
) -> "Task":
    """Return the task of one trial on loaded data; takes milliseconds.

    ``batch_size`` is for evaluation; ``parameters`` are the parameters that base models train; ``convention`` is that
    of further metrics of language models (`hamu_ray.config.metrics`). Raises `ValueError` for a forget set that the
    data cannot provide.
    """
    return TASKS[data.task].build(
        data,
        forget=forget,
        model=model,
        batch_size=batch_size,
        seed=seed,
        parameters=parameters,
        convention=convention,
    )


def metric_names(task: str, own: Mapping[str, Metric] | None = None) -> Mapping[str, Metric]:
    """Return all metrics that runs of a task report, including the engine's and a custom task's ``own``, by name."""
    return {**TASKS[task].metrics, **(own or {}), **ENGINE}
