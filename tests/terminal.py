"""The command line on a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

COLUMNS = 80
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(*arguments: str, cwd: Path, program: tuple[str, ...] = ("-m", "edgenas")) -> tuple[int, str]:
    """Exit code and all that a terminal is sent, escape sequences included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *program, *arguments]
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        stated = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                # Linux says so when the other end is closed.
                break
            if not part:
                break
            stated += part
    os.close(ours)
    return process.returncode, stated.decode().replace("\r\n", "\n")


def plain(stated: str) -> list[str]:
    """Lines without escape sequences."""
    return [line.rstrip() for line in ESCAPE.sub("", stated).splitlines()]


needs_terminals = pytest.mark.skipif(not Path("/dev/ptmx").exists(), reason="needs pseudo-terminals")
