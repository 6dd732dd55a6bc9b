"""Loading cannot run code: no pickle, and no code from the hub unless enabled."""

import ast
import pickle
from pathlib import Path

import pytest

from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.config.task.model import ModelConfig
from hamu_ray.engine.files.tensors import load_tensors

PACKAGE = Path(__file__).parents[1] / "hamu_ray"
UNSAFE_CALLS = {"torch.load", "numpy.load", "eval", "exec", "yaml.unsafe_load", "yaml.full_load"}
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
ONLY_WRITING = {"dumps", "PicklingError"}
OWN_OBJECTS = {"tasks/custom/parts.py", "api/pickling.py"}
"""Where the objects are pickled that a user gives as Python objects, and loaded again if the configuration identifies
their content: `tests/tasks/test_custom_task.py` shows that others are not."""


class Payload:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


def test_a_pickle_in_place_of_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_tensors(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_module_unpickles_or_trusts(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if set(names) <= {"pickle", *ONLY_WRITING} and isinstance(node, ast.ImportFrom):
                continue
            if str(path.relative_to(PACKAGE)) not in OWN_OBJECTS:
                assert not UNSAFE_MODULES & {name.split(".")[0] for name in names}
        elif isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in UNSAFE_CALLS
            if ast.unparse(node.func) == "np.load":
                assert "allow_pickle" in {keyword.arg for keyword in node.keywords}, "say that it is False"
            for keyword in node.keywords:
                if keyword.arg in ("trust_remote_code", "allow_pickle"):
                    assert ast.unparse(keyword.value) in ("False", "config.trust_remote_code")


def test_code_of_the_hub_does_not_run_unless_asked_for() -> None:
    assert not ModelConfig().trust_remote_code
    assert not LanguageModelConfig().trust_remote_code
