"""The schema of one run: everything that determines an unlearned model, and where it runs."""

import os
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hamu_ray.config.method import AnyMethod, MethodConfig, load_methods
from hamu_ray.config.method_checks import check_method
from hamu_ray.config.metrics import MetricsConfig
from hamu_ray.config.schema import Section
from hamu_ray.config.support import SupportConfig
from hamu_ray.config.task.data import AnyData, AnyForget, AnyModel, check_task, with_the_task
from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.model_source import ModelSource, ReferenceSource
from hamu_ray.config.task.vision import DigitsData, ForgetClass
from hamu_ray.config.training import OptimizerConfig, TrainingConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.methods import METHODS

MODEL_FILE = "model.safetensors"
"""File name of a model's weights, for runs and for checkpoints in the Hugging Face format."""

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class BatchConfig(Section):
    """Global batch size per objective, independent of the number of workers."""

    retain: PositiveInt = 5000
    forget: PositiveInt = 5000
    micro: PositiveInt | None = None
    """Examples per forward pass and worker; null: a worker's whole part of the batch."""


class DurationConfig(Section):
    """Duration of unlearning: one of the two keys."""

    epochs: PositiveInt | None = None
    """Epochs of the retain set (the forget set is repeated as often as needed)."""
    steps: int | None = Field(default=None, ge=0)
    """Optimizer steps; 0 only measures the original model."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "DurationConfig":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both: set the other to null")
        return self


class EvaluationConfig(Section):
    """When and on what data the model is evaluated, in addition to the start and the end."""

    enabled: bool = True
    """False measures nothing, for runs that are timed: their objectives are NaN, they are on no front, and no step is
    compared with what it promised unless a trust region needs it."""
    every_epochs: PositiveInt | None = None
    every_steps: PositiveInt | None = None
    subset: PositiveInt | None = None
    """Examples of each split for intermediate evaluations; the first and the last always use all examples."""
    batch_size: PositiveInt = 1000
    """Examples per forward pass."""
    promise_every_steps: PositiveInt | None = 50
    """Steps between comparisons of predicted and actual changes, each with a forward pass of both batches; the first
    step is always compared. null: never. A trust region compares at every step."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "EvaluationConfig":
        if self.every_epochs is not None and self.every_steps is not None:
            raise ValueError("give every_epochs or every_steps, not both: set the other to null")
        return self


class StopConfig(Section):
    """When to stop before the end of the duration. Non-finite losses always end a run."""

    criterion: bool | Literal["exact"] = False
    """Stop at HAMU's stopping criterion: the constraint can no longer be met without a first-order cost. `true` applies
    it block by block, as in the paper; `exact` applies it to the whole model.
    """
    retain_loss_above: PositiveFloat | None = None
    """Stop when the retain loss of an evaluation exceeds this value."""
    forget_loss_above: PositiveFloat | None = None
    """Stop when the forget loss of an evaluation exceeds this value: enough is forgotten."""
    forget_level: Literal["reference"] | None = None
    """`reference`: stop when the forget loss of an evaluation reaches the reference's forget loss. Further steps would
    forget more than a model trained without the forget set, at a cost in utility. Needs intermediate evaluations.
    """
    after_steps: PositiveInt | None = None
    """Stop after so many steps. Unlike a shorter duration, it leaves schedules as they are: the model is that of the
    whole run at this step.
    """
    rewind: Literal["held_out", "reference"] | None = None
    """Of the models at the evaluations and at the end, the result is the one whose forget accuracy is nearest to a
    target, the latest of equal ones. `held_out`: the last model's accuracy on test examples, those of the class to
    forget where a class is forgotten, as in SCRUB+R (arXiv:2302.09880). `reference`: the reference's forget accuracy.
    Needs intermediate evaluations, whose models are kept until the end.
    """
    collapse_ratio: PositiveFloat | None = 10.0
    """Stop as collapsed when the retain perplexity (exp of the loss) exceeds the original's by this factor."""


STORAGE_VARIABLE, LOCAL_VARIABLE = "HAMU_RAY_STORAGE", "HAMU_RAY_LOCAL"
"""Environment variables with the defaults of a cluster, set where its nodes start."""


def _local_of(path: str) -> str | None:
    return os.environ.get(LOCAL_VARIABLE) or None if "://" in path else None


class StorageConfig(Section):
    """Storage of models, checkpoints and results."""

    path: str = Field(default_factory=lambda: os.environ.get(STORAGE_VARIABLE) or "runs", min_length=1)
    """A folder (on a cluster, one shared by all nodes), or a URL supported by fsspec (`s3://bucket/runs`). Default: the
    environment variable `HAMU_RAY_STORAGE`, or `runs`.
    """
    local: str | None = Field(default_factory=lambda known: _local_of(known.get("path", "")), min_length=1)
    """Folder of the driver for files that only it writes: tables, pictures, the study, the SQLite store. Null: the
    path, or `runs` if the path is a URL. Default: null, or the environment variable `HAMU_RAY_LOCAL` if the path is a
    URL.
    """

    @model_validator(mode="after")
    def _local_is_a_folder(self) -> "StorageConfig":
        if self.local is not None and "://" in self.local:
            raise ValueError(f"local: must be a local folder, found {self.local}")
        return self


class TrackingConfig(Section):
    """MLflow tracking."""

    uri: str | None = None
    """Tracking URI; null: MLFLOW_TRACKING_URI, or a SQLite file in the storage path."""
    experiment: str = Field(default="hamu_ray", min_length=1, max_length=250)
    """Name of the MLflow experiment; MLflow's databases limit its length."""
    system_metrics: bool = False
    """Whether a sweep's trials have `system/` metrics: CPU and memory of their nodes, and utilization, memory and
    power of the nodes' NVIDIA GPUs, every half minute."""
    register_models: str | None = Field(default=None, min_length=1)
    """Name in MLflow's model registry under which the models on a sweep's front are registered; null: none. Their files
    are then also stored as MLflow artifacts.
    """

    @field_validator("register_models")
    @classmethod
    def _fit_for_the_registry(cls, name: str | None) -> str | None:
        if name is not None and re.search(r"[/:%\\]", name):
            raise ValueError(
                f"MLflow allows no '/', ':', '%' and '\\' in a model's name, found {name!r}; rename it"
            )
        return name


class CheckpointConfig(Section):
    """Checkpoints within a run, from which it can be resumed."""

    every_steps: PositiveInt | None = None
    """Steps between checkpoints; null writes only the final model."""
    keep: bool = False
    """Whether the checkpoints of a run that has ended are kept."""


class StartConfig(Section):
    """The model at which unlearning starts, instead of the original: the unlearned one of an earlier run."""

    path: str
    """Folder of the run."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of its model's file; another content is refused. Null: any."""


class RunConfig(Section):
    """One run: a method unlearns a forget set from an original model."""

    name: str = Field(default="run", max_length=100)
    """Name of the run in storage and tracking."""
    seed: int = Field(default=41, ge=0, le=2**32 - 1)
    """Seed of everything random: the split, the initial weights, the order of the batches; with `training.seed`, of
    unlearning alone."""
    data: AnyData = DigitsData()
    forget: AnyForget = ForgetClass()
    model: AnyModel = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    original: ModelSource = ModelSource()
    reference: ReferenceSource = ReferenceSource()
    start: StartConfig | None = None
    """An earlier run at whose model this one starts, `{path: FOLDER}`; null: at the original. The original stays the
    model that losses, stop rules and metrics compare with.
    """
    method: AnyMethod = Field(default_factory=lambda: MethodConfig.current()())
    support: SupportConfig = SupportConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    batch: BatchConfig = BatchConfig()
    duration: DurationConfig = DurationConfig(epochs=25)
    evaluation: EvaluationConfig = EvaluationConfig(every_epochs=1)
    metrics: MetricsConfig = MetricsConfig()
    stop: StopConfig = StopConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    workers: WorkersConfig = WorkersConfig()
    storage: StorageConfig = Field(default_factory=StorageConfig)
    tracking: TrackingConfig = TrackingConfig()

    @property
    def training_seed(self) -> int:
        """The seed of the split and of the base models."""
        return self.seed if self.training.seed is None else self.training.seed

    @property
    def lacks_forget_losses(self) -> bool:
        """Whether nothing has the losses of a model that never saw the forget set: a whole class, no reference."""
        whole_class = isinstance(self.forget, ForgetClass) and self.forget.rho == 0
        return self.reference.source == "none" and whole_class

    @model_validator(mode="before")
    @classmethod
    def _task_follows_from_data(cls, document: Any) -> Any:
        load_methods(document)
        return with_the_task(document)

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(
                "use only letters, digits, '.', '_' and '-', starting with a letter or digit (it becomes a folder's "
                f"name), found {name!r}"
            )
        return name

    @model_validator(mode="after")
    def _sections_agree(self) -> "RunConfig":
        check_task(self.data, self.forget, self.model, self.training)
        check_method(self)
        if self.original.source == "none":
            raise ValueError("original.source: unlearning needs an original model; use train or path")
        if self.duration.epochs is None and self.duration.steps is None:
            raise ValueError("duration: give epochs or steps")
        if self.metrics.convention is not None and self.data.task != "language":
            raise ValueError(
                f"metrics.convention: {self.metrics.convention} is of language models; set it to null"
            )
        self._check_stop()
        return self

    def steps_of(self, retain_examples: int) -> int:
        """Return the number of steps with so many retain examples.

        Raises `ValueError` if the run is to stop after more steps.
        """
        steps, after, given = self.duration.steps, self.stop.after_steps, "duration.steps"
        if steps is None:
            assert self.duration.epochs is not None
            given = f"duration.epochs {self.duration.epochs}, which are"
            steps = self.duration.epochs * -(-retain_examples // self.batch.retain)
        if after is not None and after > steps:
            raise ValueError(
                f"stop.after_steps: {after} is beyond the last step, {given} {steps}; lower it, or make the duration "
                "longer"
            )
        return steps

    def _check_stop(self) -> None:
        """Check that the rules that end a run early, or choose its result, can apply."""
        for key in ("after_steps", "rewind") if METHODS[self.method.name].edit else ():
            if (value := getattr(self.stop, key)) is not None:
                raise ValueError(
                    f"stop.{key}: {value}, but {self.method.name} is one edit without steps; set it to null for it"
                )
        if self.duration.steps is not None:
            self.steps_of(0)
        if self.stop.rewind is not None and self.data.task == "custom":
            raise ValueError(
                "stop.rewind: needs accuracies, which custom tasks need not have; set it to null"
            )
        if self.stop.rewind is not None and self.workers.shards > 1:
            raise ValueError("stop.rewind: keeps models as a whole; set workers.shards to 1")
        for key in ("forget_level", "rewind"):
            if getattr(self.stop, key) == "reference" and self.reference.source == "none":
                raise ValueError(
                    f"stop.{key}: reference needs a reference; set reference.source to train or path"
                )
        evaluation = self.evaluation
        if evaluation.enabled and not evaluation.every_epochs is evaluation.every_steps is None:
            return
        for key in ("forget_level", "rewind", "retain_loss_above", "forget_loss_above"):
            if (value := getattr(self.stop, key)) is not None:
                raise ValueError(
                    f"stop.{key}: {value} needs intermediate evaluations; set evaluation.every_epochs or every_steps"
                )
