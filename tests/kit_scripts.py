"""The scripts of the deploy kit as modules. They are not part of the package, so they are loaded by their paths."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from edgenas.files import shipped


def load_script(name: str) -> ModuleType:
    """Return a new module of a script, such as `bench`; tests may change it without effect on others."""
    spec = importlib.util.spec_from_file_location(name, shipped("export") / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
