import contextlib
import functools
import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_local import fake_local
from filelock import FileLock
from hypothesis import settings
from small_run import SmallRun, make_small_run, read_small_run

from edgenas.profiling.transport_registry import TransportRegistry, mounted
from edgenas.testing import FakeTransport

# What tests compute is small: more threads cost more than they bring, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell's background jobs ignore Ctrl-C, and so would all that tests start; some tests are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Machines are shared, so a slow example is no failure; and what fails must fail again.
settings.register_profile("edgenas", deadline=None, max_examples=15, derandomize=True)
settings.load_profile("edgenas")


def pytest_collection_finish() -> None:
    """Keep all that was imported out of garbage collections.

    The timer collects before each of its rounds, which takes a third of a second with torch and all tests loaded.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data that the project does not ship."""
    if "EDGENAS_DATA" not in os.environ:
        pytest.skip("EDGENAS_DATA is not set: it names the folder of shared data (ofa/imagenet_top1_w1.0.csv)")
    return Path(os.environ["EDGENAS_DATA"])


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first worker to ask for it makes, and the others wait for."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, made = shared / name, shared / f"{name}.made"
    with FileLock(shared / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """One small whole run, made by the command line as a user would, of which each worker has a copy."""
    made = read_small_run(made_once(tmp_path_factory, "small run", make_small_run))
    return made.copied(tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="session", autouse=True)
def _started_early(request: pytest.FixtureRequest) -> None:
    """Let the first of several workers make the small run at once, while the others run tests without it."""
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0" and any(
        "small_run" in getattr(item, "fixturenames", ()) for item in request.session.items
    ):
        request.getfixturevalue("small_run")


@pytest.fixture(scope="session")
def shared_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One little bundle of both precisions, which tests copy before they change it."""
    # Torch takes its number of threads from the environment that is set above.
    from little_bundle import little_bundle

    made = made_once(tmp_path_factory, "little bundle", little_bundle)
    return Path(shutil.copytree(made / "bundle", tmp_path_factory.mktemp("little bundle") / "bundle"))


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run whose supernet is trained, which tests copy (see `trained_run.copied_to`)."""
    from trained_run import make_trained_run

    return made_once(tmp_path_factory, "trained run", make_trained_run) / "run"


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory: pytest.TempPathFactory, trained_folder: Path) -> Path:
    """The folder of that run, finished with results that are written by hand; tests copy it likewise."""
    from trained_run import make_finished_run

    return made_once(tmp_path_factory, "finished run", lambda folder: make_finished_run(folder, trained_folder)) / "run"


@pytest.fixture(scope="session", autouse=True)
def _operators_read_once() -> Iterator[None]:
    """Let torch parse its ONNX functions once for all exports: for each export they take half a second."""
    from torch.onnx._internal._lazy_import import onnxscript_apis

    with pytest.MonkeyPatch.context() as monkeypatch:
        once = functools.cache(onnxscript_apis.get_torchlib_ops)
        monkeypatch.setattr(onnxscript_apis, "get_torchlib_ops", once, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _fake_device() -> Iterator[None]:
    """Let a synthetic device stand in for this machine; tests of real timing mount the shipped transports."""
    with fake_local():
        yield


@pytest.fixture
def mount() -> Iterator[Callable[[FakeTransport], FakeTransport]]:
    """A function that lets another synthetic device stand in for this machine until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda transport: stack.enter_context(fake_local(transport))


@pytest.fixture
def real_timer() -> Iterator[None]:
    """Let this machine's models be timed by the kit's timer."""
    with mounted(TransportRegistry()):
        yield
