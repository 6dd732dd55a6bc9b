"""What a method requires of the other sections of a run."""

from typing import Protocol

from hamu_ray.config.method import MethodConfig
from hamu_ray.config.support import SupportConfig
from hamu_ray.config.task.data import AnyData, AnyModel
from hamu_ray.config.task.language import TextSection
from hamu_ray.config.task.model_source import ReferenceSource
from hamu_ray.config.training import TrainingConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.methods import Objective, forget_objective, get_method
from hamu_ray.methods.objectives import HIDDEN, PERTURBED, SECOND


class Sections(Protocol):
    """The sections of a run that methods may require something of; see `RunConfig`."""

    @property
    def data(self) -> AnyData:
        """The section `data`."""
        ...

    @property
    def model(self) -> AnyModel:
        """The section `model`."""
        ...

    @property
    def training(self) -> TrainingConfig:
        """The section `training`."""
        ...

    @property
    def reference(self) -> ReferenceSource:
        """The section `reference`."""
        ...

    @property
    def method(self) -> MethodConfig:
        """The section `method`."""
        ...

    @property
    def support(self) -> SupportConfig:
        """The section `support`."""
        ...

    @property
    def workers(self) -> WorkersConfig:
        """The section `workers`."""
        ...


def check_method(run: Sections) -> None:
    """Check that a run has what its method needs; raises `ValueError` that begins with the key."""
    _check_shards(run)
    _check_penalty(run)
    _check_second_answers(run)
    _check_hidden_states(run)
    _check_perturbed(run)
    _check_edit(run)
    _check_target(run)


def _forget_objective(run: Sections) -> Objective | None:
    chosen = run.method.forget_objective
    return forget_objective(chosen, **dict(run.method)) if chosen else get_method(run.method.name).forget


def _check_second_answers(run: Sections) -> None:
    """Check that the data have second answers if the forget objective needs them."""
    forget = _forget_objective(run)
    if forget is None or SECOND not in forget.needs:
        return
    if not isinstance(run.data, TextSection) or not run.data.has_second_answers:
        key = "name" if run.method.forget_objective is None else "forget_objective"
        raise ValueError(
            f"method.{key}: {forget.name} needs second answers to questions, which {run.data.name} data do not "
            "have here; choose another"
        )


def _check_hidden_states(run: Sections) -> None:
    """Check that the model has the hidden states that an objective needs."""
    forget = _forget_objective(run)
    if forget is None or HIDDEN not in forget.needs:
        return
    if run.data.task != "language":
        key = "name" if run.method.forget_objective is None else "forget_objective"
        raise ValueError(
            f"method.{key}: {forget.name} needs the hidden states of a language model; choose another"
        )
    if run.workers.shards > 1:
        raise ValueError(f"workers.shards: {forget.name} needs hidden states of a whole model; set it to 1")


def _check_perturbed(run: Sections) -> None:
    """Check that the inputs have gradients if an objective needs those near them."""
    forget = _forget_objective(run)
    if forget is not None and PERTURBED in forget.needs and run.data.task != "vision":
        key = "name" if run.method.forget_objective is None else "forget_objective"
        raise ValueError(f"method.{key}: {forget.name} needs images, which can be perturbed; choose another")


def _check_shards(run: Sections) -> None:
    """Check that the model and the weights that may change can be in shards."""
    if run.workers.shards == 1:
        return
    if run.data.task != "language":
        raise ValueError("workers.shards: only language models can be sharded; set it to 1")
    if run.support.kind != "all" or run.method.hyperparameters.saliency is not None:
        raise ValueError("workers.shards: support and saliency cannot be selected in shards; set it to 1")
    forget = _forget_objective(run)
    if forget is not None and "random" in forget.needs:
        raise ValueError(f"workers.shards: {forget.name} needs an untrained model as a whole; set it to 1")


def _check_penalty(run: Sections) -> None:
    """Check that a penalty on the weights meets those of the model."""
    if run.method.hyperparameters.l1_penalty and getattr(run.model, "lora", None) is not None:
        raise ValueError(
            "method.l1_penalty: would make the adapter sparse instead of the model, whose own weights are frozen; "
            "set model.lora to null, or choose another method"
        )


def _check_edit(run: Sections) -> None:
    """Check that an edit has weights of the original to change."""
    if get_method(run.method.name).edit is None:
        return
    if run.workers.shards > 1:
        raise ValueError(f"workers.shards: {run.method.name} edits a model as a whole; set it to 1")
    if getattr(run.model, "lora", None) is not None and run.training.parameters == "all":
        raise ValueError(
            f"method.name: {run.method.name} edits the original's weights, and a new adapter has none of them; "
            "set model.lora to null, or choose another method"
        )


def _check_target(run: Sections) -> None:
    """Check that a run with a target has a reference."""
    if run.method.hyperparameters.target is None:
        return
    if run.reference.source == "none":
        raise ValueError("method.target: reference needs a reference; set reference.source to train or path")
    if run.method.forget_objective not in (None, "cross_entropy"):
        raise ValueError(
            f"method.target: reference is a cross-entropy, and {run.method.forget_objective} is the forget "
            "objective; set method.forget_objective or method.target to null"
        )
