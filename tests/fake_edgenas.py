"""The command line with a synthetic device in place of this machine: `python fake_edgenas.py SECONDS ARGUMENTS...`.

Each process of the timer takes SECONDS. Measurements depend on the models alone, so that a run that is killed and an
undisturbed one see the same. With EDGENAS_TEST_CHECKPOINT_SECONDS in the environment, checkpoints come as often.
"""

from __future__ import annotations

import os
import sys

from fake_local import LOCAL, fake_local

from edgenas import cli
from edgenas.testing import FakeTransport

if __name__ == "__main__":
    seconds, *arguments = sys.argv[1:]
    if "EDGENAS_TEST_CHECKPOINT_SECONDS" in os.environ:
        from edgenas.training import training_loop

        training_loop.CHECKPOINT_SECONDS = float(os.environ["EDGENAS_TEST_CHECKPOINT_SECONDS"])
    sys.argv = ["edgenas", *arguments]
    with fake_local(FakeTransport(pause_seconds=float(seconds), instead_of=LOCAL)):
        cli.main()
