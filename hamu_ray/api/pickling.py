"""Objects of a user as bytes for other processes, and what identifies a function by what it does."""

import hashlib
import pickle
from types import CodeType
from typing import Any

import cloudpickle


def pickled(name: str, value: Any) -> bytes:
    """Return an object as bytes from which another process makes the same object.

    Raises:
        ValueError: It cannot be pickled, or not be loaded again; in one line that names it.
    """
    try:
        content = cloudpickle.dumps(value)
        pickle.loads(content)
    except Exception as error:  # whatever the object's own code raises
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{name}: {type(value).__name__} cannot be sent to the workers ({type(error).__name__}: {reason}); open "
            "files, locks and connections within it when they are used, not before"
        ) from error
    return content


def behaviour(function: Any) -> str:
    """Return a hash of a function's code that is the same in every process; of other objects of their type's name.

    Constants and the names that are used count, file names and line numbers do not.
    """
    code = getattr(function, "__code__", None)
    content = f"{type(function).__module__}.{type(function).__qualname__}" if code is None else _text(code)
    return hashlib.sha256(content.encode()).hexdigest()


def _text(code: CodeType) -> str:
    constants = [_text(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return repr((code.co_code, constants, code.co_names))
