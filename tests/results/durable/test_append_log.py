"""A log to append to: what a crash, a full disk or a bad block leaves of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamu_ray.results.durable.append_log import AppendLog, read_log
from hamu_ray.storage import storage_error

DOCUMENTS = [{"number": i, "text": "ä\n" * i, "value": float("inf")} for i in range(5)]
TINY = """
import json, sys
from pathlib import Path
from hamu_ray.results.durable.append_log import AppendLog
log = AppendLog(Path(sys.argv[1]))
for number in range(100_000):
    try:
        log.append([json.dumps({"number": number, "text": "x" * 1000})])
    except OSError as error:
        print(number, error.errno)
        break
"""


def fill(path: Path) -> bytes:
    log = AppendLog(path)
    for document in DOCUMENTS:
        log.append([json.dumps(document)])
    return path.read_bytes()


def documents(path: Path) -> list[dict | None]:
    return [document for document, _ in read_log(path)]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    content = fill(tmp_path / "log")
    assert documents(tmp_path / "log") == DOCUMENTS
    ends = [end for _, end in read_log(tmp_path / "log")]
    assert ends[-1] == len(content)
    assert [document for document, _ in read_log(tmp_path / "log", ends[2])] == DOCUMENTS[3:]
    assert documents(tmp_path / "none") == []
    assert all({"digest", "number"} < json.loads(line).keys() for line in content.splitlines())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_log_that_was_cut_goes_on_behind_its_last_whole_line(tmp_path: Path, data: st.DataObject) -> None:
    """After a power loss the file may end anywhere, and zeros may stand in place of what was not written."""
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    content = fill(path)
    end = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:end] + bytes(data.draw(st.integers(0, 3))))
    whole = content[:end].count(b"\n")
    assert documents(path) == DOCUMENTS[:whole]
    AppendLog(path).append([json.dumps({"last": True}), json.dumps({"last": 2})])
    assert documents(path) == [*DOCUMENTS[:whole], {"last": True}, {"last": 2}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_a_flipped_bit_costs_the_lines_that_it_is_in(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    content = bytearray(fill(path))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    AppendLog(path).append([json.dumps({"last": True})])
    found = documents(path)
    left = [document for document in found if document is not None]
    assert left[-1] == {"last": True}
    assert all(document in DOCUMENTS for document in left[:-1])
    assert len(left) >= len(DOCUMENTS) - 1, "at most two lines became one, or the last lost its end"


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """A limit on the size of files fails a write in its middle, as a full disk does."""
    path = tmp_path / "log"
    command = f"ulimit -f 100; trap '' XFSZ; exec {sys.executable} -c '{TINY}' {path}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    number, code = map(int, result.stdout.split())
    assert os.strerror(code) == "File too large"
    assert path.read_bytes().endswith(b"\n"), "the half line is removed at once"
    assert [document and document["number"] for document in documents(path)] == list(range(number))
    AppendLog(path).append(['{"number": -1}'])
    assert documents(path)[-1] == {"number": -1}


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_a_long_half_line_is_cut(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log"
    content = fill(path)
    path.write_bytes(content + b"x" * size)
    AppendLog(path)
    assert path.read_bytes() == content
    path.write_bytes(b"x" * size)
    AppendLog(path)
    assert path.read_bytes() == b""


def test_a_log_whose_folder_is_gone_is_a_lost_storage_even_if_there_is_a_new_folder(tmp_path: Path) -> None:
    """A process that still writes there may make the folder again, before anybody looks at the error."""
    log = AppendLog(tmp_path / "sweep" / "log.jsonl")
    (tmp_path / "sweep").rmdir()
    with pytest.raises(OSError, match=r"gone.*log\.jsonl") as error:
        log.append([json.dumps({"a": 1})])
    (tmp_path / "sweep").mkdir()
    assert storage_error(error.value) is error.value
