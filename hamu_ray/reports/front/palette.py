"""The colour and the marker of each method, the same in every drawing."""

from collections.abc import Sequence

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
"""Okabe and Ito's colours, which colour-blind readers can tell apart. Black and grey are no method's."""


MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "pentagon", "hexagon")
"""As many as differ at a glance, by plotly's names."""


def look_of(place: int) -> tuple[str, str, bool]:
    """Return the colour and the marker of the method at a place among all, and whether it is filled."""
    again, colour = divmod(place, len(OKABE_ITO))
    return OKABE_ITO[colour], MARKERS[place % len(MARKERS)], again % 2 == 0


def colour_of(method: str, methods: Sequence[str]) -> str:
    """Return the method's colour in the pictures of a sweep of these methods; lighter where colours come again."""
    again, place = divmod(sorted(methods).index(method), len(OKABE_ITO))
    channels = (int(OKABE_ITO[place][i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{255 - (255 - channel) // 2**again:02X}" for channel in channels)
