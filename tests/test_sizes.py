"""Sizes: files, functions and folders stay small enough to be read at once."""

import ast
from pathlib import Path

import hamu_ray

PACKAGE = Path(hamu_ray.__file__).parent
FILE_LINES, FUNCTION_LINES, FOLDER_MODULES = 300, 60, 14
"""Limits; a function's docstring, which lists its arguments, is not counted."""


def test_files_functions_and_folders_are_small() -> None:
    large = []
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        large += [f"{path}: {text.count(chr(10))} lines"] * (text.count("\n") > FILE_LINES)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines(node) > FUNCTION_LINES:
                large.append(f"{path}: {node.name} has {lines(node)} lines")
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        large += [f"{folder}: {len(modules)} modules"] * (len(modules) > FOLDER_MODULES)
    assert not large


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of a function's lines, without its docstring."""
    assert function.end_lineno is not None
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring
