"""The data sets and forget sets of all tasks, and the model sections that go with them."""

from typing import Annotated, Any

from pydantic import Field

from hamu_ray.config.language import ForgetSplit, LanguageModelConfig, TextData, TofuData
from hamu_ray.config.model import ModelConfig
from hamu_ray.config.schema import Section
from hamu_ray.config.vision import (
    Cifar10Data,
    DigitsData,
    ForgetClass,
    ForgetIndices,
    ForgetRandom,
    ImagesData,
)

AnyData = Annotated[DigitsData | ImagesData | Cifar10Data | TofuData | TextData, Field(discriminator="name")]
AnyForget = Annotated[ForgetClass | ForgetRandom | ForgetIndices | ForgetSplit, Field(discriminator="kind")]
AnyModel = Annotated[ModelConfig | LanguageModelConfig, Field(discriminator="task")]

TASK_BY_DATA = {
    section.model_fields["name"].default: section.task
    for section in (DigitsData, ImagesData, Cifar10Data, TofuData, TextData)
}
"""Names of data sets to their tasks."""


def with_the_task(document: Any) -> Any:
    """Return a run's document with the task written into its model section: the data decide on it.

    A forget set that is not given becomes, for text, the split that the data set has for it. A document whose
    data are unknown stays as it is, for the schema to say so.
    """
    if not isinstance(document, dict):
        return document
    data = document.get("data", DigitsData())
    task = data.task if isinstance(data, Section) else None  # type: ignore[attr-defined]
    if isinstance(data, dict) and isinstance(data.get("name"), str):
        task = TASK_BY_DATA.get(data["name"])
    given = document.get("model", {})
    if task is None or not isinstance(given, dict):
        return document
    document = {**document, "model": {"task": task, **given}}
    if task == "language" and "forget" not in document:
        document["forget"] = {"kind": ForgetSplit().kind}
    return document
