"""The palette: colours of the report page, and the colour, marker and dash of each method in every figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#CDBF1F")
"""Okabe and Ito's colours, distinguishable with colour blindness; yellow is darkened for white backgrounds."""

ON_DARK = ("#3F97DD", "#E69F00", "#1FB98C", "#EE7733", "#DD92BD", "#93D2F7", "#F0E442")
"""The same hues for a dark background."""

MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "pentagon", "hexagon")
"""Plotly marker names. Their number is coprime to the number of colours, so 56 methods get distinct pairs."""

DASHES = ("solid", "dash", "dot", "dashdot")
"""Plotly dash names. Lines have no markers; they differ in dash where colours repeat."""


def _theme(colours: Sequence[str], **properties: str) -> dict[str, str]:
    return properties | {f"c{i}": colour for i, colour in enumerate(colours)}


LIGHT: Mapping[str, str] = _theme(
    OKABE_ITO,
    paper="#fdfdfc",
    sheet="#f5f5f2",
    ink="#1d2023",
    muted="#62676d",
    rule="#dcdcd6",
    grid="#e8e8e3",
    accent="#00598c",
    tint="#e9f1f6",
)
DARK: Mapping[str, str] = _theme(
    ON_DARK,
    paper="#15181b",
    sheet="#1d2125",
    ink="#e9eaea",
    muted="#a2a8ae",
    rule="#363c42",
    grid="#2a2f34",
    accent="#7fc0ee",
    tint="#1b2a35",
)


def css() -> str:
    """Return both themes as CSS custom properties; `data-theme` of the root element overrides the system's theme."""
    light, dark = (
        " ".join(f"--{name}: {value};" for name, value in theme.items()) + f" color-scheme: {scheme};"
        for theme, scheme in ((LIGHT, "light"), (DARK, "dark"))
    )
    return (
        f":root {{ {light} }}\n"
        f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {dark} }} }}\n'
        f':root[data-theme="dark"] {{ {dark} }}\n'
    )


@dataclass(frozen=True)
class MethodStyle:
    """The style of a method, derived from its index among the methods of a figure."""

    index: int

    @property
    def css(self) -> str:
        """The colour as a CSS property, which follows the theme."""
        return f"var(--c{self.index % len(OKABE_ITO)})"

    @property
    def colour(self) -> str:
        """The colour on a light background, as `#RRGGBB`."""
        return OKABE_ITO[self.index % len(OKABE_ITO)]

    @property
    def marker(self) -> str:
        """The plotly name of the marker."""
        return MARKERS[self.index % len(MARKERS)]

    @property
    def dash(self) -> str:
        """The plotly name of the line's dash."""
        return DASHES[self.index // len(OKABE_ITO) % len(DASHES)]

    @property
    def run_colour(self) -> str:
        """The colour of the method's runs in MLflow. MLflow draws no markers, so repeated colours are lightened."""
        channels = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        lighter = 2 ** (self.index // len(OKABE_ITO))
        return "#" + "".join(f"{255 - (255 - channel) // lighter:02X}" for channel in channels)


def styles_of(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """Return the style of each method by its index in the sequence."""
    return {method: MethodStyle(index) for index, method in enumerate(methods)}


def colour_of(method: str, methods: Sequence[str]) -> str:
    """Return the MLflow colour of a method's runs in a sweep over these methods."""
    return styles_of(sorted(methods))[method].run_colour
