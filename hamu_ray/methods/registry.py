"""The methods by name. A new one is a file beside this, a line here and a row in the tests' table."""

from difflib import get_close_matches

from hamu_ray.methods.descent import FT, GA, GDIFF, KL, SCRUB
from hamu_ray.methods.gru import GRU
from hamu_ray.methods.hamu import HAMU_Q, HAMU_U
from hamu_ray.methods.method import Method
from hamu_ray.methods.pcgrad import PCGRAD

METHODS: dict[str, Method] = {
    method.name: method for method in (HAMU_Q, HAMU_U, FT, GA, GDIFF, KL, SCRUB, GRU, PCGRAD)
}
"""All methods."""


def get_method(name: str) -> Method:
    """Return the method of that name.

    Raises:
        ValueError: If there is none; the message names the nearest, and all.
    """
    if name in METHODS:
        return METHODS[name]
    nearest = get_close_matches(str(name), METHODS, n=1, cutoff=0.4)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise ValueError(f"method must be one of {', '.join(METHODS)}, found {name!r}{hint}")
