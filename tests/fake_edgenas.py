"""The command line with a synthetic device in place of this machine: `python fake_edgenas.py SECONDS ARGUMENTS...`.

Each process of the timer takes SECONDS. Measurements depend on the models alone, so that a run that is killed and an
undisturbed one see the same.
"""

from __future__ import annotations

import sys

from fake_local import LOCAL, fake_local
from forked import command_line

from edgenas.testing import FakeTransport


def main(seconds: float, *arguments: str) -> None:
    with fake_local(FakeTransport(pause_seconds=seconds, instead_of=LOCAL)):
        command_line(*arguments)


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
