"""The base of every section of a configuration."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: frozen, without unknown keys, and with a docstring per field.

    Validation is strict: neither `true` nor `"3"` is accepted as a number. Tuple fields use `Field(strict=False)`,
    because files contain lists; their elements are still validated strictly.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @classmethod
    def current(cls) -> "type[Section]":
        """Return the section with all its keys; one whose keys are not known statically overrides this."""
        return cls
