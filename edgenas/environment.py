"""The environment of edgenas's processes: no usage reports of libraries, no imports from the user's folder.

`edgenas` imports this module before any other package, so it imports nothing that takes time.
"""

from __future__ import annotations

import contextlib
import os
import sys

OPT_OUT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "WANDB_ERROR_REPORTING": "false",
}
"""Variables that disable usage reports of libraries. A value that the user has set is kept.

ONNX Runtime (1.29 and newer) reads its variable at import. Otherwise it writes a device id and queued events into the
user's home folder, and runs a thread in the process that is timed.
"""

CACHES = {"MPLCONFIGDIR": "matplotlib", "TORCHINDUCTOR_CACHE_DIR": "torch-inductor"}
"""Variables that move a library's cache, and the folder's name. torch makes its folder on every ONNX export."""
PACKAGE = os.path.dirname(os.path.abspath(__file__))
CALL_MAIN = (
    "import importlib.util, os, sys; file, module = sys.argv[1:3]; del sys.argv[1:3]; "
    "spec = importlib.util.spec_from_file_location('edgenas', file, "
    "submodule_search_locations=[os.path.dirname(file)]); "
    "sys.modules['edgenas'] = package = importlib.util.module_from_spec(spec); spec.loader.exec_module(package); "
    "importlib.import_module(module).main()"
)
"""Load the package by its path, so that neither another edgenas nor modules beside this one are imported."""


def disable_telemetry() -> None:
    """Opt out of usage reports in this process and its children."""
    for name, value in OPT_OUT.items():
        os.environ.setdefault(name, value)


def ignore_working_folder() -> None:
    """Import nothing from the working folder, in this process and its Python children.

    A user's random.py or types.py there would replace Python's own.
    """
    # `python -m edgenas` puts the folder first; the console script puts its own folder there instead. A second call
    # would remove an entry of PYTHONPATH that is the working folder.
    safe = sys.flags.safe_path or os.environ.get("PYTHONSAFEPATH")
    if not safe and sys.path and sys.path[0] in ("", working_folder()):
        del sys.path[0]
    sys.path[:] = [folder for folder in sys.path if folder]
    if os.path.dirname(PACKAGE) not in sys.path:
        # A checkout that is not installed: child processes import edgenas from this path.
        sys.path.append(os.path.dirname(PACKAGE))
    os.environ["PYTHONSAFEPATH"] = "1"


def use_own_caches() -> None:
    """Move libraries' caches, like matplotlib's list of fonts, into edgenas's cache folder.

    Variables that the user has set are kept. If the folder cannot be made, libraries use temporary ones.
    """
    folder = cache_folder()
    if folder is not None and _can_be_made(folder):
        for variable, name in CACHES.items():
            os.environ.setdefault(variable, os.path.join(folder, name))


def _can_be_made(folder: str) -> bool:
    while not os.path.exists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def cache_folder() -> str | None:
    """Return edgenas's cache folder; None without a home folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        home = os.path.expanduser("~") if os.environ.get("HOME") != "" else ""
        base = os.path.join(home, ".cache")
    return os.path.join(base, "edgenas") if os.path.isabs(base) else None


def script_command(script: str | os.PathLike[str], *words: str) -> list[str]:
    """Return the command that runs a script without imports from the working folder or the script's own."""
    return [sys.executable, "-P", os.fspath(script), *words]


def module_command(module: str, *words: str) -> list[str]:
    """Return the command of a process that calls `main()` of a module of this edgenas, with words as arguments."""
    return [sys.executable, "-P", "-c", CALL_MAIN, os.path.join(PACKAGE, "__init__.py"), module, *words]


def working_folder() -> str | None:
    """Return the working folder; None if it has been removed."""
    with contextlib.suppress(OSError):
        return os.getcwd()
    return None
