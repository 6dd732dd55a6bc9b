"""The code of a plug-in identifies a run; plug-ins are loaded in processes of their own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from hamu_ray.results.provenance import read_provenance

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "docs" / "plugin" / "partial_gru.py"

KEYS = """
import sys
from pathlib import Path
import yaml
from cheap_runs import cheap_run
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.provenance import weights_key

original = StoredModel("0" * 64, Path("model.safetensors"), {})
names = yaml.safe_load(sys.argv[1])
print(yaml.safe_dump({n: weights_key(cheap_run(method={"name": n}), original, None) for n in names}))
"""
RUN = """
import sys
from pathlib import Path
import torch
from cheap_runs import cheap_run, done
from hamu_ray.certificate.make import certify
from hamu_ray.engine.resident import Resident

folder = Path(sys.argv[1])
run = cheap_run(method={"name": "partial_gru:PARTIAL_GRU"}, training={"epochs": 1}, duration={"steps": 1})
done(run, Resident(folder / "storage", torch.device("cpu")), folder / "run")
certify(folder / "run", None, folder / "run")
"""


def python(code: str, *arguments: str, path: Path) -> str:
    paths = map(str, (path, ROOT, Path(__file__).parent))
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def keys(path: Path, *names: str) -> Mapping[str, str]:
    found: Mapping[str, str] = yaml.safe_load(python(KEYS, yaml.safe_dump(names), path=path))
    return found


@pytest.mark.parametrize("module", ["partial_gru", "package.partial_gru"])
def test_an_edited_plugin_does_not_continue_old_checkpoints(tmp_path: Path, module: str) -> None:
    file = tmp_path / f"{module.replace('.', '/')}.py"
    file.parent.mkdir(exist_ok=True)
    if file.parent != tmp_path:
        (file.parent / "__init__.py").touch()
    name, text = f"{module}:PARTIAL_GRU", TEMPLATE.read_text()
    file.write_text(text)
    first = keys(tmp_path, "gru", name)
    assert keys(tmp_path, name)[name] == first[name]
    file.write_text(text.replace("-1.0)", "-2.0)"))
    edited = keys(tmp_path, name, "gru")
    assert edited[name] != first[name]
    assert edited["gru"] == first["gru"] == keys(tmp_path, "gru")["gru"]


def test_provenance_and_certificate_identify_the_plugin(tmp_path: Path) -> None:
    file = tmp_path / "partial_gru.py"
    file.write_text(TEMPLATE.read_text())
    python(RUN, str(tmp_path), path=tmp_path)
    known = read_provenance(tmp_path / "run")
    assert known is not None
    (plugin,) = known.plugins
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (plugin.name, plugin.distribution, plugin.sha256) == ("partial_gru:PARTIAL_GRU", "", sha256)
    words = f"partial_gru:PARTIAL_GRU of no installed package, source {sha256[:12]}"
    assert known.labels()["plugins"] == words
    assert words in next((tmp_path / "run").glob("*.md")).read_text()
    assert sha256 in (tmp_path / "run" / "certificate.html").read_text()
    assert sha256 in (tmp_path / "run" / "certificate.json").read_text()
