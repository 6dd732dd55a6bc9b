"""torch, imported on first use.

Reading the methods with their hyperparameters, as every check of a configuration does, must not take the seconds that
importing torch takes. A module of a method therefore has its mathematics and its record of hyperparameters side by
side, and takes torch from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
else:

    class _Deferred:
        """The module torch; its attributes are copied on first use."""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)  # of those that inspect modules
            value = getattr(import_module("torch"), name)
            setattr(self, name, value)
            return value

    torch = _Deferred()
