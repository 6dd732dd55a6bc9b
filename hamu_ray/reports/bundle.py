"""A static site of reports: an index of sweeps, a folder with report, picture and tables for each."""

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

from hamu_ray.reports.analysis.problems import letters, problems_of
from hamu_ray.reports.make import REPORT_FILE, write_report
from hamu_ray.reports.page.index import Entry, render_index
from hamu_ray.reports.page.origins import sweep_rows
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.storage import write_atomically

INDEX_FILE = "index.html"
ALL = "all"
"""Folder of the report on all sweeps."""


def write_bundle(sweeps: Sequence[SweepResult], title: str, folder: Path) -> Path:
    """Write the site and return the path of its index; sweeps are listed from the newest to the oldest.

    Everything is written again for the given sweeps; folders of others remain.
    """
    newest = sorted(sweeps, key=lambda sweep: (sweep.began, sweep.name), reverse=True)
    places = folders_of(newest)
    rows = sweep_rows(newest, letters(newest)) if newest else []
    entries = []
    for sweep, row in zip(newest, rows, strict=True):
        place = folder / places[sweep.key]
        for stale in place.glob("front*.png"):
            stale.unlink()
        write_report([sweep], sweep.name, place)
        pictures = sorted(place.glob("front*.png"))  # of several problems the first
        entries.append(
            Entry(
                row,
                problems_of([sweep]),
                f"{place.name}/{REPORT_FILE}",
                f"{place.name}/{pictures[0].name}" if pictures else None,
            )
        )
    together = None
    if len(newest) > 1:
        together = write_report(newest, title, folder / ALL).relative_to(folder)
    index = folder / INDEX_FILE
    index.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(index, render_index(entries, title, together).encode())
    return index


def folders_of(sweeps: Sequence[SweepResult]) -> dict[tuple[str, str], str]:
    """Return a folder for each sweep: its name, after a number and its experiment where that is taken."""
    taken: dict[tuple[str, str], str] = {}
    for sweep in sweeps:
        names = chain([sweep.name], (f"{number}-{sweep.experiment}-{sweep.name}" for number in count(1)))
        free = (name for name in map(file_name, names) if name not in {ALL, *taken.values()})
        taken[sweep.key] = next(free)
    return taken


def file_name(title: str) -> str:
    """Return a title as a valid folder name."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in title)[:60].strip(".") or "report"
