"""The tutorial notebook runs from its first cell to its last."""

from pathlib import Path

import nbformat
import pytest
import ray
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "python.ipynb"


@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_the_tutorial_runs(tmp_path: Path, cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "kept without outputs"
    NotebookClient(notebook, timeout=1500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    assert any("6/6" in text for text in texts), "a line for each trial"
    assert any("Front: " in text and "retain-only" in text for text in texts)
    assert {path.name for path in (tmp_path / "unlearned").iterdir()} >= {"model.safetensors", "README.md"}
