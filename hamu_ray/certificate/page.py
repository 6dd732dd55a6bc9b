"""A certificate as one self-contained HTML page."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from hamu_ray.certificate.statement import Statement


def page_of(statement: Statement) -> bytes:
    """Return the page: without scripts and without anything from elsewhere, for screens of any width and for paper."""
    environment = Environment(
        loader=PackageLoader("hamu_ray.certificate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("certificate.html").render(statement=statement).encode()
