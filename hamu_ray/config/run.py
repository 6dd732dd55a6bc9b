"""The schema of one run: everything that determines an unlearned model, and where it runs."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hamu_ray.config.data import AnyData, AnyForget, AnyModel, check_task, with_the_task
from hamu_ray.config.method import MethodConfig
from hamu_ray.config.model import ModelConfig
from hamu_ray.config.model_source import ModelSource, ReferenceSource
from hamu_ray.config.schema import Section
from hamu_ray.config.vision import DigitsData, ForgetClass
from hamu_ray.methods import settings_of

MODEL_FILE = "model.safetensors"
"""The weights of a model: of a run, and of a checkpoint in the format of Hugging Face."""

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class OptimizerConfig(Section):
    """What turns a gradient into a step."""

    name: Literal["sgd", "adamw"] = "sgd"
    """`sgd` takes the method's step exactly; `adamw` rescales it, which gives up HAMU's per-step guarantee."""
    learning_rate: PositiveFloat = 1e-4
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Of SGD; above zero the step is no longer the method's alone."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine` falls to zero over the whole run."""
    clip_norm: PositiveFloat | None = 1.0
    """Largest norm of each objective's gradient, clipped after the mean over its global batch."""


class TrainingOptimizerConfig(OptimizerConfig):
    """The same for training; one key given alone leaves the others at these defaults."""

    name: Literal["sgd", "adamw"] = "adamw"
    learning_rate: PositiveFloat = 1e-3


class TrainingConfig(Section):
    """The recipe of the original model and of its retain-only reference."""

    epochs: PositiveInt = 50
    batch_size: PositiveInt = 5000
    micro_batch_size: PositiveInt | None = None
    """Examples per forward pass; null takes the batch at once."""
    optimizer: TrainingOptimizerConfig = TrainingOptimizerConfig()
    select: Literal["best", "last"] = "best"
    """`best`: the epoch with the best mean of retain and forget accuracy (the reference: retain accuracy)."""
    parameters: Literal["all", "lora"] = "all"
    """`lora` trains the adapters of `model.lora` alone, and unlearning continues with them."""


class BatchConfig(Section):
    """Global batch per objective: the same whatever the number of workers."""

    retain: PositiveInt = 5000
    forget: PositiveInt = 5000
    micro: PositiveInt | None = None
    """Examples per forward pass and worker; null takes a worker's share of the batch at once."""


class DurationConfig(Section):
    """How long unlearning lasts: one of the two."""

    epochs: PositiveInt | None = None
    """Passes over the retain set (the forget set is started again as often as needed)."""
    steps: int | None = Field(default=None, ge=0)
    """Optimizer steps; 0 measures the original model and changes nothing."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "DurationConfig":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both: set the other to null")
        return self


class EvaluationConfig(Section):
    """When and on what the model is measured, besides the start and the end."""

    enabled: bool = True
    """False measures nothing, for runs that are timed: their objectives are NaN, and they are on no front."""
    every_epochs: PositiveInt | None = None
    every_steps: PositiveInt | None = None
    subset: PositiveInt | None = None
    """Examples of each split for the evaluations in between; start and end are always in full."""
    batch_size: PositiveInt = 1000
    """Examples per forward pass."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "EvaluationConfig":
        if self.every_epochs is not None and self.every_steps is not None:
            raise ValueError("give every_epochs or every_steps, not both: set the other to null")
        return self


class StopConfig(Section):
    """When to end before the duration is over. Non-finite losses always end a run."""

    criterion: bool | Literal["exact"] = False
    """At HAMU's stopping criterion, the constraint can no longer be met at no first-order cost: true as the paper has
    it, block by block; `exact` for the whole model."""
    retain_loss_above: PositiveFloat | None = None
    """When the retain loss of an evaluation exceeds this."""
    forget_loss_above: PositiveFloat | None = None
    """When the forget loss of an evaluation exceeds this: enough is forgotten."""
    forget_level: Literal["reference"] | None = None
    """`reference`: when the forget loss of an evaluation reaches the reference's own on the forget set. To go on
    would forget more than a model that never saw the data, at a cost in skill. Needs evaluations in between."""
    collapse_ratio: PositiveFloat | None = 10.0
    """When the retain perplexity (exp of the loss) exceeds the original's by this factor: collapsed."""


class WorkersConfig(Section):
    """The Ray Train workers of one run."""

    count: PositiveInt = 2
    """1: both objectives in turn; even: half the workers for each objective."""
    cpus: PositiveFloat = 1.0
    """CPUs per worker."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs per worker; a fraction lets several workers share one."""
    accelerator: str | None = Field(default=None, min_length=1)
    """Kind of GPU that the workers' nodes must have, as Ray names it, such as `A100`; null takes any."""
    forget_workers: PositiveInt | None = None
    """How many of the workers hold the forget shard; null: half of them."""
    exchange: Literal["all_gather", "segments"] | None = None
    """How gradients meet; null: `all_gather` for two workers, `segments` for more."""
    wire: Literal["float32", "bfloat16"] = "float32"
    """Number format of gradients between workers; bfloat16 halves the traffic and rounds the gradients."""

    @model_validator(mode="after")
    def _pairs(self) -> "WorkersConfig":
        if self.forget_workers is None and self.count > 1 and self.count % 2:
            raise ValueError(
                f"count: must be 1 or even (half the workers hold the retain shard), found {self.count}; "
                f"take {self.count - 1} or {self.count + 1}, or say how many are forget_workers"
            )
        if self.forget_workers is not None and not self.forget_workers < self.count:
            raise ValueError(
                f"forget_workers: must be fewer than count ({self.count}), found {self.forget_workers}"
            )
        return self


class StorageConfig(Section):
    """Where models, checkpoints and results are kept."""

    path: str = Field(default="runs", min_length=1)
    """Folder, on a cluster one that every node shares, or a URL that fsspec opens (`s3://bucket/runs`)."""
    local: str | None = Field(default=None, min_length=1)
    """Folder of the driver for what it alone writes: tables, pictures, the study, the SQLite store. Null: the path,
    or `runs` where that is a URL."""

    @model_validator(mode="after")
    def _local_is_a_folder(self) -> "StorageConfig":
        if self.local is not None and "://" in self.local:
            raise ValueError(f"local: must be a folder of this machine, found {self.local}")
        return self


class TrackingConfig(Section):
    """MLflow."""

    uri: str | None = None
    """Tracking URI; null takes MLFLOW_TRACKING_URI, or else a SQLite file in the storage path."""
    experiment: str = Field(default="hamu_ray", min_length=1)
    """Name of the MLflow experiment."""
    register_models: str | None = Field(default=None, min_length=1, pattern=r"^[^/:%\\]+$")
    """Name in MLflow's model registry under which a sweep's models of the front are registered; null: none. Their
    files are then kept in MLflow's artifacts, too."""


class CheckpointConfig(Section):
    """Checkpoints within a run, to continue from."""

    every_steps: PositiveInt | None = None
    """Steps between checkpoints; null writes only the finished model."""


class RunConfig(Section):
    """One run: a method unlearning a forget set from an original model."""

    name: str = Field(default="run", max_length=100)
    """Names the run in storage and tracking."""
    seed: int = Field(default=41, ge=0, le=2**32 - 1)
    """Decides everything random: the split, the initial weights, the order of the batches."""
    data: AnyData = DigitsData()
    forget: AnyForget = ForgetClass()
    model: AnyModel = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    original: ModelSource = ModelSource()
    reference: ReferenceSource = ReferenceSource()
    method: MethodConfig = MethodConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    batch: BatchConfig = BatchConfig()
    duration: DurationConfig = DurationConfig(epochs=25)
    evaluation: EvaluationConfig = EvaluationConfig(every_epochs=1)
    stop: StopConfig = StopConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    workers: WorkersConfig = WorkersConfig()
    storage: StorageConfig = StorageConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="before")
    @classmethod
    def _task_follows_from_data(cls, document: Any) -> Any:
        return with_the_task(document)

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(
                "use letters, digits, '.', '_' and '-' alone, the first a letter or digit (a folder gets this "
                f"name), found {name!r}"
            )
        return name

    @model_validator(mode="after")
    def _sections_agree(self) -> "RunConfig":
        check_task(self.data, self.forget, self.model, self.training.parameters, self.training.select)
        if self.original.source == "none":
            raise ValueError("original.source: unlearning starts from an original model; take train or path")
        if self.duration.epochs is None and self.duration.steps is None:
            raise ValueError("duration: give epochs or steps")
        if self.reference.source == "none" and not (
            isinstance(self.forget, ForgetClass) and self.forget.rho == 0
        ):
            raise ValueError(
                "reference.source: only a whole-class forget set (rho 0) can be judged without a reference; "
                "take train or path"
            )
        self._check_forget_level()
        self._check_target()
        return self

    def _check_target(self) -> None:
        """Check that a method which stops at the reference's forget loss has a reference."""
        if self.method.target is None or "target" not in settings_of(self.method.name):
            return
        if self.reference.source == "none":
            raise ValueError(
                "method.target: reference needs a reference; take reference.source train or path"
            )
        if self.method.forget_objective not in (None, "cross_entropy"):
            raise ValueError(
                f"method.target: reference is a cross-entropy, and {self.method.forget_objective} is what is raised; "
                "set method.forget_objective or method.target to null"
            )

    def _check_forget_level(self) -> None:
        """Check that a run which ends at the reference's forget loss has a reference, and looks in between."""
        if self.stop.forget_level is None:
            return
        if self.reference.source == "none":
            raise ValueError(
                "stop.forget_level: reference needs a reference; take reference.source train or path"
            )
        if not self.evaluation.enabled or self.evaluation.every_epochs is self.evaluation.every_steps is None:
            raise ValueError(
                "stop.forget_level: reference is looked for in evaluations; set evaluation.every_epochs or every_steps"
            )
