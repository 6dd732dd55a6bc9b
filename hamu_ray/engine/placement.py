"""Where the weights of a model are: on the device of its task, or in shards on those of a replica's workers."""

import gc

import torch
from torch import nn

from hamu_ray.pairing.group import Distributed, Group
from hamu_ray.pairing.sharding import shard
from hamu_ray.tasks.layers import blocks_of
from hamu_ray.tasks.models.deferred import deferred_values
from hamu_ray.tasks.task import Task


def build_device(task: Task, shards: Group) -> torch.device:
    """Return the device on which a model is built; for several shards meta: its weights are read in `placed`."""
    return task.device if shards.size == 1 else torch.device("meta")


def placed(model: nn.Module, task: Task, shards: Group) -> nn.Module:
    """Return a model built on `build_device`, sharded in place if there are several shards.

    Of weights in safetensors files, a worker reads its own shard alone.

    Raises:
        ValueError: The model cannot be sharded; one line with the key and the remedy.
    """
    if not isinstance(shards, Distributed) or shards.size == 1:
        return model
    blocks = blocks_of(model)
    try:
        if len(blocks) < 2:
            raise ValueError("it has no list of layers that are gathered one by one")
        shard(model, list(blocks.values()), shards, task.device, deferred_values(model))
    except ValueError as error:
        raise ValueError(
            f"workers.shards: {type(model).__name__} cannot be sharded: {error}; set it to 1"
        ) from error
    gc.collect()  # an earlier sharded model refers to itself
    return model
