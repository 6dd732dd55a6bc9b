"""Tables in Markdown, and pages whose tables are made from rows."""

import re
from collections.abc import Callable, Sequence

from hamu_ray.results.pareto.front import Interval


def shown(interval: Interval, digits: int = 2) -> str:
    """Return a mean with its interval."""
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    rows = [list(header), ["---"] * len(header), *map(list, lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def filled(page: str, table: Callable[[str], str]) -> str:
    """Return the page with each table between `<!-- table: NAME -->` and `<!-- end -->` made anew."""

    def made(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n{table(found[1])}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", made, page, flags=re.S)
