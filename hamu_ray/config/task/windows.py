"""Windows of texts that are longer than a model's context."""

from typing import Annotated

from pydantic import Field, model_validator

from hamu_ray.config.schema import Section

PositiveInt = Annotated[int, Field(ge=1)]

LONGEST = 512
"""Maximum number of tokens of a text unless `max_length` or `windows` is given."""


class WindowsConfig(Section):
    """Windows for texts that are longer than the model's context. Each answer token counts in exactly one window."""

    length: int = Field(default=LONGEST, ge=8)
    """Maximum length of a window in tokens, including the prompt or preceding tokens."""
    stride: PositiveInt | None = None
    """Distance between the starts of two windows in tokens, below the length: a token is predicted from at least length
    - stride preceding tokens. null: half the length.
    """

    @model_validator(mode="after")
    def _windows_overlap(self) -> "WindowsConfig":
        if self.step >= self.length:
            raise ValueError(
                f"stride: must be below the length ({self.length}), so that a window's first token is predicted "
                f"from one before it, found {self.step}"
            )
        return self

    @property
    def step(self) -> int:
        """Distance between the starts of two windows, in tokens."""
        return self.stride or self.length // 2
