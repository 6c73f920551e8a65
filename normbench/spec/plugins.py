"""Files of a user's own that register norms, models, data sets, optimizers, probes or callbacks."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from types import ModuleType

from normbench.errors import NormbenchError, UsageError
from normbench.spec.neighbours import make_importable
from normbench.spec.registry import importing
from normbench.spec.values import at_home


def load_plugins(paths: tuple[str, ...]) -> None:
    """Imports plug-in files, each once. Raises UsageError where one cannot be."""
    for path in paths:
        load_plugin(path)


def load_plugin(path: str) -> ModuleType:
    """The module of a plug-in file, imported unless this process has done so. It can import what lies beside it."""
    file = at_home(path, "plugin").resolve()
    name = f"normbench_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise UsageError(f"plugin {path} is not a Python file: give a path that exists")
    make_importable(file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with importing(str(file)):
            spec.loader.exec_module(module)
    except NormbenchError:
        del sys.modules[name]
        raise
    except Exception as error:  # a user's code may raise anything
        del sys.modules[name]
        raise UsageError(f"plugin {path} fails to import: {type(error).__name__}: {error}") from error
    return module
