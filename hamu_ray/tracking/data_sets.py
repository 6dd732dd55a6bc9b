"""The sets of examples that a run was trained on, as MLflow shows them."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hamu_ray.tracking.encoding import text

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

DIGEST_LENGTH = 36
"""MLflow's limit."""
SOURCE = "hamu_ray.data"
"""Type of the source: a section of the configuration."""


def inputs(source: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> list["DatasetInput"]:
    """Return one input per set; its role is the context, and its number of examples is in the profile."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    return [
        DatasetInput(
            Dataset(
                name=source["name"],
                digest=one["digest"][:DIGEST_LENGTH],
                source_type=SOURCE,
                source=text(source),
                profile=json.dumps({"num_rows": one["examples"]}),
            ),
            [InputTag(MLFLOW_DATASET_CONTEXT, role)],
        )
        for role, one in sets.items()
    ]
