"""The protocol for looking at single examples of a task: values, activations and contents."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import nn

Places = NDArray[np.int64]
"""Indices within a split, int64 ``(k,)``."""

Columns = Mapping[str, np.ndarray | Sequence[object]]
"""Values of examples by name, ``k`` each; names are columns of `hamu_ray.results.items`."""


@runtime_checkable
class Reworded(Protocol):
    """Items whose examples to forget can be asked for in other ways, one of `metrics.attacks.names.WORDINGS`."""

    def rewordings(self, attack: str) -> Mapping[str, str]:
        """Return the hash of an attack's wordings by what they change, ``question`` or ``answer``; empty if none."""
        ...

    def rewording_losses(self, model: nn.Module, attack: str) -> Mapping[str, NDArray[np.float64]]:
        """Return the loss of each wording by what it changes, float64 ``(wordings,)``, in eval mode."""
        ...


class Items(Protocol):
    """The examples of a task's splits ``retain``, ``forget`` and ``test``."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Number of examples of each split."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes in the order of the outputs; empty if examples have no class."""
        ...

    @property
    def generates(self) -> bool:
        """Whether the models generate answers."""
        ...

    def values(self, model: nn.Module, split: str, places: Places) -> Columns:
        """Return what a model predicts for examples: its ``loss``, and further columns."""
        ...

    def activations(self, model: nn.Module, split: str, places: Places) -> Mapping[str, np.ndarray]:
        """Return float32 ``(k, features)`` by layer, in order; see `hamu_ray.tasks.layers`."""
        ...

    def contents(self, split: str, places: Places) -> Columns:
        """Return what a person can look at: ``image`` as PNG, or ``question`` and ``truth``; may be empty."""
        ...

    def answers(self, model: nn.Module, split: str, places: Places) -> Columns:
        """Return generated answers with their ``rouge``; empty for models that do not generate."""
        ...
