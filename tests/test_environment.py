"""Nothing that edgenas or its kit starts reports usage, writes into the home folder, or imports from the user's."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import edgenas
from edgenas.environment import (
    CACHES,
    OPT_OUT,
    cache_folder,
    ignore_working_folder,
    module_command,
    script_command,
    use_own_caches,
)
from edgenas.errors import DataError
from edgenas.files import shipped
from edgenas.profiling.ssh_connection import BOOT
from edgenas.training.data import named_sets

PACKAGE = Path(edgenas.__file__).parent
KIT = ("bench.py", "run.py", "verify.py")
MARKER = "was-run"
HOSTILE = ("random.py", "json.py", "argparse.py", "numpy.py", "onnx.py", "signal.py")
"""Names of modules that our processes import from elsewhere; a user's own scripts may be called so."""
REPORTERS = ("onnxruntime", "ray", "mlflow", "wandb", "trackio", "huggingface_hub", "datasets", "transformers")
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to count threads")


def with_hostile_modules(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in HOSTILE:
        (folder / name).write_text(f"open({str(folder / MARKER)!r}, 'w')\nraise SystemExit('a script of the user')\n")
    return folder


def make_model(path: Path) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [values[0]], [values[1]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def fresh_environment(home: Path) -> dict[str, str]:
    """As a new user has it. `CI` keeps ONNX Runtime from reporting, so that a test would find nothing."""
    home.mkdir()
    unset = (*OPT_OUT, "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PYTHONSAFEPATH", "PYTHONPATH")
    kept = {key: value for key, value in os.environ.items() if key not in unset}
    return {**kept, "HOME": str(home), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def started(command: list[str], folder: Path, home: Path, **more: object) -> subprocess.CompletedProcess:
    environment = fresh_environment(home)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, timeout=300, check=False, **{"text": True, **more}
    )


def imported(tree: ast.AST) -> list[tuple[str, int]]:
    """Packages that a module imports, with their lines."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.module.partition(".")[0], node.lineno))
    return found


@pytest.mark.parametrize("folder", ["export", "latency_tables"])
def test_scripts_opt_out_before_they_import_what_reports_usage(folder: str) -> None:
    for path in sorted(shipped(folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        imports = imported(ast.parse(text))
        for package, line in imports:
            if package in REPORTERS:
                before = "\n".join(text.splitlines()[: line - 1])
                assert 'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")' in before, f"{path.name} line {line}"
    assert any(
        package in REPORTERS
        for name in KIT
        for package, _ in imported(ast.parse((shipped("export") / name).read_text()))
    )


def test_the_package_opts_out_before_it_imports_anything() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    first = next(
        i for i, node in enumerate(tree.body) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    )
    assert ast.unparse(tree.body[first]) == "disable_telemetry()"
    before = {package for node in tree.body[:first] if not isinstance(node, ast.If) for package, _ in imported(node)}
    assert before <= {"__future__", "importlib", "edgenas"}


def test_python_processes_are_started_in_one_way() -> None:
    """Others would import from the working folder: `sys.executable` stands in environment.py alone."""
    users = [path.name for path in PACKAGE.rglob("*.py") if "sys.executable" in path.read_text(encoding="utf-8")]
    assert users == ["environment.py"]


def test_what_the_user_has_chosen_is_kept() -> None:
    code = "import os, edgenas; print([os.environ[name] for name in ('ORT_DISABLE_TELEMETRY', 'DO_NOT_TRACK')])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0", "PYTHONPATH": str(PACKAGE.parent)}
    environment.pop("DO_NOT_TRACK", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['0', '1']"


@needs_proc
def test_the_runtime_leaves_no_thread_and_no_file(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m.onnx")
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "import os, time\nfrom edgenas.deploy.onnx.runtime import bound_run, open_session\nfrom pathlib import Path\n"
        f"run = bound_run(open_session(Path({str(model)!r}), 'm'), 'm'); run()\n"
        "time.sleep(0.2); print(len(os.listdir('/proc/self/task')))"
    )
    done = started([sys.executable, "-c", code], tmp_path, tmp_path / "home")
    assert (done.stdout.strip(), done.stderr) == ("1", "")
    assert list((tmp_path / "home").rglob("*")) == []


def test_inspect_imports_nothing_of_the_users_and_leaves_nothing_at_home(tmp_path: Path) -> None:
    folder = with_hostile_modules(tmp_path / "work")
    make_model(folder / "m.onnx")
    # Not installed, and from a folder of its own: the process that measures memory must find the same package.
    code = f"import sys; sys.path[:1] = [{str(folder)!r}, {str(PACKAGE.parent)!r}]; "
    code += "from edgenas.environment import ignore_working_folder; ignore_working_folder(); "
    code += "from edgenas.cli import main; main()"
    done = started([sys.executable, "-c", code, "inspect", "m.onnx", "--runs", "10", "-q"], folder, tmp_path / "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert "measured: a new process grew by" in done.stdout or not Path("/proc/self/status").exists()
    assert not (folder / MARKER).exists()
    assert list((tmp_path / "home").rglob("*")) == []


def test_the_package_called_as_a_module_ignores_the_working_folder(tmp_path: Path) -> None:
    folder = with_hostile_modules(tmp_path / "work")
    (folder / "edgenas").symlink_to(PACKAGE)
    done = started([sys.executable, "-m", "edgenas", "--version"], folder, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert not (folder / MARKER).exists()


@pytest.mark.parametrize("name", KIT)
def test_the_kit_imports_nothing_that_lies_beside_it_and_leaves_nothing_at_home(name: str, tmp_path: Path) -> None:
    folder = with_hostile_modules(tmp_path / "kit")
    shutil.copy(shipped("export") / name, folder)
    done = started([sys.executable, name, "--help"], folder, tmp_path / "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / MARKER).exists()
    assert list((tmp_path / "home").rglob("*")) == []


def test_the_timer_and_its_sessions_leave_nothing_at_home(tmp_path: Path) -> None:
    folder = with_hostile_modules(tmp_path / "kit")
    shutil.copy(shipped("export") / "bench.py", folder)
    make_model(folder / "m.onnx")
    words = ["bench.py", "m.onnx", "--rounds", "2", "--sessions", "2"]
    done = started([sys.executable, *words], folder, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert not (folder / MARKER).exists()
    assert list((tmp_path / "home").rglob("*")) == []


def test_the_far_end_imports_nothing_from_the_home_folder_it_starts_in(tmp_path: Path) -> None:
    folder = with_hostile_modules(tmp_path / "far home")
    program = (shipped("export") / "remote.py").read_bytes()
    sent = b"%d\n%s" % (len(program), program)
    command = [sys.executable, "-c", BOOT, "close", "0" * 32]
    done = started(command, folder, tmp_path / "home", text=False, input=sent)
    assert (done.returncode, done.stdout.split()[-1]) == (0, b"done"), done.stderr
    assert not (folder / MARKER).exists()


def test_the_path_loses_the_working_folder_and_keeps_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for first in ("", str(tmp_path)):
        monkeypatch.setenv("PYTHONSAFEPATH", "")
        monkeypatch.setattr(sys, "path", [first, "/lib", ""])
        ignore_working_folder()
        assert sys.path == ["/lib", str(PACKAGE.parent)]
        assert os.environ["PYTHONSAFEPATH"] == "1"
    # A console script's own folder is not the user's.
    monkeypatch.setattr(sys, "path", ["/usr/bin", "/lib", str(PACKAGE.parent)])
    ignore_working_folder()
    assert sys.path == ["/usr/bin", "/lib", str(PACKAGE.parent)]


def test_a_second_call_keeps_an_entry_of_pythonpath_that_is_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/lib", str(PACKAGE.parent)])
    for _ in range(2):
        ignore_working_folder()
        assert sys.path == [str(tmp_path), "/lib", str(PACKAGE.parent)]


def test_commands_of_children_have_a_safe_path() -> None:
    assert script_command(Path("a.py"), "x") == [sys.executable, "-P", "a.py", "x"]
    command = module_command("edgenas.cli", "--version")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("edgenas ")


@pytest.fixture
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder is chosen, and changes made to the environment are taken back."""
    for name in ("XDG_CACHE_HOME", "HOME", *CACHES):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_choice")
@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"XDG_CACHE_HOME": "{}/c", "HOME": "{}/h"}, "{}/c/edgenas"),
        ({"XDG_CACHE_HOME": "", "HOME": "{}/h"}, "{}/h/.cache/edgenas"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "{}/h"}, "{}/h/.cache/edgenas"),
    ],
)
def test_caches_lie_in_a_folder_of_their_own(
    variables: dict[str, str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    monkeypatch.setenv("MPLCONFIGDIR", "/chosen")
    use_own_caches()
    expected = folder.format(tmp_path)
    assert cache_folder() == expected
    assert os.environ["MPLCONFIGDIR"] == "/chosen"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == f"{expected}/torch-inductor"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_choice")
def test_where_no_cache_can_be_made_libraries_take_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    use_own_caches()
    monkeypatch.setenv("HOME", "")
    use_own_caches()
    assert cache_folder() is None
    monkeypatch.delenv("HOME")
    # As for a user that the system does not list.
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    use_own_caches()
    assert cache_folder() is None
    assert not set(CACHES) & set(os.environ)


def test_downloads_need_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_sets, "cache_folder", lambda: None)
    with pytest.raises(DataError, match="HOME is not set"):
        named_sets.cifar10(None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits as POSIX has them")
def test_images_are_checked_where_torch_has_no_room(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(5):
            side = (16 + number, 16)
            Image.new("RGB", side, (40 * number, len(name), ord(name[0]))).save(tmp_path / "p" / name / f"{number}.png")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, resource.RLIM_INFINITY))\n"
        f"sys.path.insert(0, {str(PACKAGE.parent)!r})\nfrom edgenas.cli import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules\n"
    )
    done = started([sys.executable, "-c", code, "data", "check", "-q", "p"], tmp_path, tmp_path / "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert "10" in done.stdout
