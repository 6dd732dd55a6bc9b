"""The base of every section of a configuration."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: frozen, closed to unknown keys, with one docstring per field.

    Strict: neither `true` nor `"3"` is taken for a number. Fields that are tuples say `Field(strict=False)`, since
    a file has lists; what is in them stays strict.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )
