"""Independent calls in processes of the cluster, each on one worker's resources, as many at once as are free.

Unlike a trial's jobs they need no group, report nothing while they run, and leave their results in the storage.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import ray

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import first_line
from hamu_ray.results.outcome import Failure

RETRIES = 3
"""How often a call is repeated after its process or node died."""


class HasRun(Protocol):
    """A call's argument, with the run whose workers say what resources the call needs."""

    @property
    def run(self) -> RunConfig:
        """The run."""
        ...


Argument = TypeVar("Argument", bound=HasRun)


def calls(
    function: Callable[[Argument], Any], arguments: Sequence[Argument]
) -> Iterator[tuple[Argument, Any | Failure]]:
    """Call a function for each argument; yield arguments with results, or why there is none, as calls end.

    This process must be connected to a cluster (`hamu_ray.workers.cluster.connected`). Calls that are pending wait for
    resources that are free; they take none from worker groups.
    """
    pending = {submit(function, argument): argument for argument in arguments}
    while pending:
        (done,), _ = ray.wait(list(pending))
        argument = pending.pop(done)
        try:
            yield argument, ray.get(done)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            yield argument, Failure(f"{type(cause).__name__}: {first_line(cause)}")
        except ray.exceptions.RayError as error:
            yield argument, Failure(f"its process ended: {first_line(error)}")


def submit(function: Callable[[Argument], Any], argument: Argument) -> ray.ObjectRef:
    """Submit a call."""
    workers = argument.run.workers
    remote: Any = ray.remote(function)
    kind = {"accelerator_type": workers.accelerator} if workers.accelerator else {}
    options = remote.options(num_cpus=workers.cpus, num_gpus=workers.gpus, max_retries=RETRIES, **kind)
    reference: ray.ObjectRef = options.remote(argument)
    return reference
