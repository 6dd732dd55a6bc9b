"""What a part found: one record for each thing that it checked, and the files that hold them all."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

Number = float | int | str | bool


class Status(StrEnum):
    """Whether a check passed. What could not be tried is neither passed nor failed."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Record:
    """One check: its result, what was measured, and why where it did not pass."""

    name: str
    status: Status
    numbers: Mapping[str, Number] = field(default_factory=dict)
    why: str = ""
    part: str = ""
    """Set by the runner, like the seconds."""
    seconds: float = 0.0


def judged(name: str, good: bool, why_not: str, **numbers: Number) -> Record:
    """Return the record of a check that passed if ``good``, and otherwise failed for a reason."""
    status = Status.PASSED if good else Status.FAILED
    return Record(name, status, numbers, "" if good else why_not)


def measured(name: str, **numbers: Number) -> Record:
    """Return the record of a measurement, which passes if all its numbers are finite."""
    strange = [key for key, value in numbers.items() if isinstance(value, float) and not math.isfinite(value)]
    return judged(name, not strange, f"not finite: {', '.join(strange)}", **numbers)


def not_run(name: str, why: str, **numbers: Number) -> Record:
    """Return the record of what could not be tried."""
    return Record(name, Status.NOT_RUN, numbers, why)


def shown(value: Number) -> str:
    """Return a number for people: four significant digits."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}"
    return f"{value:.4g}"


def markdown(records: Sequence[Record], machine: Mapping[str, Number]) -> str:
    """Return the records as a table, under a line on the machine."""
    counts = {status: sum(record.status is status for record in records) for status in Status}
    lines = [
        "# scripts/gpu_check",
        "",
        ", ".join(f"{key} {shown(value)}" for key, value in machine.items()),
        "",
        ", ".join(f"{count} {status}" for status, count in counts.items()),
        "",
        "| part | check | status | numbers | seconds | why |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for record in records:
        numbers = "; ".join(f"{key} {shown(value)}" for key, value in record.numbers.items())
        why = record.why.replace("|", "\\|").replace("\n", " ")
        cells = (record.part, record.name, record.status, numbers, f"{record.seconds:.1f}", why)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(folder: Path, records: Sequence[Record], machine: Mapping[str, Number]) -> None:
    """Write the records as `gpu_check.json` and `gpu_check.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"machine": dict(machine), "records": [asdict(record) for record in records]}
    (folder / "gpu_check.json").write_text(json.dumps(document, indent=2) + "\n")
    (folder / "gpu_check.md").write_text(markdown(records, machine))
