import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings
from small_run import SmallRun, make_small_run

# What tests compute is small: more threads cost more than they bring, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell's background jobs ignore Ctrl-C, and so would all that tests start; some tests are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Machines are shared, so a slow example is no failure; and what fails must fail again.
settings.register_profile("edgenas", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("edgenas")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data that the project does not ship."""
    if "EDGENAS_DATA" not in os.environ:
        pytest.skip("EDGENAS_DATA is not set: it names the folder of shared data (ofa/imagenet_top1_w1.0.csv)")
    return Path(os.environ["EDGENAS_DATA"])


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """One small whole run, made by the command line as a user would, shared by all tests that look at a run."""
    return make_small_run(tmp_path_factory.mktemp("small run"))


@pytest.fixture(scope="session")
def shared_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One little bundle of both precisions, which tests copy before they change it."""
    # Torch takes its number of threads from the environment that is set above.
    from little_bundle import little_bundle

    return little_bundle(tmp_path_factory.mktemp("little bundle"))
