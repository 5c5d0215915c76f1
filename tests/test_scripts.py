"""Scripts beside the package: what they import exists, since no type checker reads them."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = sorted(
    path for folder in ("examples", "latency_tables", "tests") for path in (REPOSITORY / folder).rglob("*.py")
)


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the modules of edgenas that a file imports from, each with an imported name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "edgenas":
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("folder", ["examples", "latency_tables", "tests"])
def test_names_that_scripts_import_exist(folder: str) -> None:
    paths = [path for path in SCRIPTS if path.is_relative_to(REPOSITORY / folder)]
    names = {(*name, str(path.relative_to(REPOSITORY))) for path in paths for name in imported(path)}
    assert names
    assert not [name for name in sorted(names) if not _exists(*name[:2])]


def _exists(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.util.find_spec(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False
