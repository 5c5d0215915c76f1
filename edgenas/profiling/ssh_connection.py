"""Machines that the system's OpenSSH client reaches, and commands to `export/remote.py` there.

Places hold host and user names, so no file stores them.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import parse_qsl

from edgenas.errors import ConfigError, MeasurementError, shown
from edgenas.files import shipped
from edgenas.profiling.timer_rows import printable

BOOT = (
    "import sys;sys.path=[p for p in sys.path if p];"
    "exec(compile(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())),'remote.py','exec'))"
)
"""Python that reads the program from the connection: nothing has to be installed there.

`-c` puts the home folder on the path; nothing is imported from it."""
OPTIONS = (
    *("-T", "-oBatchMode=yes", "-oClearAllForwardings=yes", "-oForwardAgent=no", "-oForwardX11=no"),
    *("-oConnectTimeout=15", "-oServerAliveInterval=5", "-oServerAliveCountMax=3"),
)
SSH_FAILED = 255
PATIENCE_SECONDS = 600.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
SILENCE_SECONDS = 60.0
ENDING_SECONDS = 30.0
UPLOAD_SECONDS = 1800.0
LONGEST_LINE = 2**22
FINAL = ("Permission denied", "Host key verification failed", "HOST IDENTIFICATION HAS CHANGED")
"""Messages of ssh after which trying again does not help."""
Answer = tuple[str, str]
"""A word and a text."""
LOGGER = logging.getLogger(__name__)
PLACE_FORM = "ssh://[user@]host[:port][?python=/path/to/python3]"
# None may begin with a dash, which ssh would take for an option, or hold what a shell takes for more than a word.
_PLACE = re.compile(
    r"ssh://(?:(?P<user>\w[\w.+-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?/?"
    r"(?:\?(?P<options>.*))?",
    re.ASCII,
)
_PYTHON = re.compile(r"[\w~/.][\w~/.+-]{0,300}", re.ASCII)


@dataclass(frozen=True)
class SshPlace:
    """A machine that the system's ssh reaches; what is None follows from the user's ssh config."""

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"

    def __str__(self) -> str:
        """Return the address that messages show."""
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{user}{self.host}{port}"


def parse_place(text: str) -> SshPlace:
    """Read `ssh://user@host:port?python=/path`.

    Raises:
        ConfigError: it is malformed, or holds a password.
    """
    if re.match(r"ssh://[^/?@]*:[^/?]*@", text):
        # Not shown: it would stand in logs.
        raise ConfigError(
            f"--on: passwords are not supported, use a key (`ssh-copy-id` installs it); expected {PLACE_FORM}"
        )
    match = _PLACE.fullmatch(text)
    options = dict(parse_qsl((match and match["options"]) or "", keep_blank_values=True))
    python = options.pop("python", "python3")
    port = int(match["port"]) if match and match["port"] else None
    if match is None or options or not _PYTHON.fullmatch(python) or not 1 <= (22 if port is None else port) < 2**16:
        raise ConfigError(f"--on: expected {PLACE_FORM}, got {shown(text)}")
    return SshPlace(match["host"].strip("[]"), match["user"], port, python)


class Dropped(Exception):
    """The connection ended before the command did."""


@dataclass(frozen=True)
class SshConnection:
    """A connection to one temporary folder on another machine.

    Attributes:
        place: the machine.
        token: random name of the folder, which begins every answer; nobody there can predict it.
    """

    place: SshPlace
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    def ask(
        self, verb: str, *arguments: str, payload: IO[bytes] | None = None, silence: float = SILENCE_SECONDS
    ) -> Iterator[Answer]:
        """Run one command and yield its answers, a word and a text each, as they come.

        Args:
            verb: see `export/remote.py`.
            arguments: its arguments.
            payload: what it reads.
            silence: seconds without an answer after which the connection counts as lost.

        Raises:
            Dropped: the connection was lost, or could not be made.
            MeasurementError: the command failed there.
        """
        if shutil.which("ssh") is None:
            raise MeasurementError(
                "`ssh` was not found on this machine: install OpenSSH's client (Debian: openssh-client)"
            )
        with tempfile.TemporaryFile() as sent, tempfile.TemporaryFile() as words:
            _write_program(sent, payload)
            # In its own session: Ctrl-C goes to this process, which still has to remove the folder there.
            with subprocess.Popen(
                self._command(verb, *arguments),
                stdin=sent,
                stdout=subprocess.PIPE,
                stderr=words,
                start_new_session=True,
            ) as process:
                try:
                    assert process.stdout is not None
                    for line in _lines(process.stdout, silence):
                        token, _, answer = line.partition(" ")
                        word, _, text = answer.partition(" ")
                        if token != self.token:
                            continue
                        if word == "done":
                            return
                        if word == "refused":
                            raise MeasurementError(f"{self.place}: {_refusal(text)}")
                        yield word, text
                    process.wait(ENDING_SECONDS)
                except subprocess.TimeoutExpired:
                    raise Dropped("ssh does not end") from None
                finally:
                    process.kill()
            words.seek(0)
            raise self._failure(process.returncode, words.read(2**16).decode("utf-8", errors="replace"))

    def persist(self, ask: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
        """Yield answers; connect and ask again when the connection is lost, for `PATIENCE_SECONDS` without any answer.

        Raises:
            MeasurementError: it did not come back, or the far end refuses.
        """
        last, pause = time.monotonic(), FIRST_PAUSE_SECONDS
        while True:
            try:
                for answer in ask():
                    last, pause = time.monotonic(), FIRST_PAUSE_SECONDS
                    yield answer
                return
            except Dropped as error:
                if time.monotonic() - last > PATIENCE_SECONDS or any(words in str(error) for words in FINAL):
                    raise MeasurementError(f"{self.place} cannot be reached any more: {error}") from None
                LOGGER.warning("the connection to %s was lost (%s): connecting again", self.place, error)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _command(self, verb: str, *arguments: str) -> list[str]:
        place = self.place
        port = ["-p", str(place.port)] if place.port else []
        user = ["-l", place.user] if place.user else []
        # One text for the shell there, which need not be a POSIX one: double quotes, and nothing that it would expand.
        words = " ".join([place.python, "-c", f'"{BOOT}"', verb, self.token, *arguments])
        return ["ssh", *OPTIONS, *port, *user, "--", place.host, words]

    def _failure(self, code: int, output: str) -> Exception:
        tail = "\n".join(printable(line) for line in output.strip().splitlines()[-5:])
        if code == SSH_FAILED or code < 0:
            return Dropped(tail or "no message")
        if code == 127:
            return MeasurementError(
                f"{self.place} has no {self.place.python}: install Python 3.9 or newer there, or give its path with "
                f"?python=/path/to/python3 ({tail})"
            )
        return MeasurementError(f"{self.place}: the far end failed with exit code {code}:\n{tail}")


def _refusal(text: str) -> str:
    """Return a text in JSON form as printable lines."""
    lines = re.sub(r"\\u[0-9a-fA-F]{4}", " ", text.strip('"')).replace('\\"', '"').split("\\n")
    return "\n".join(printable(line) for line in lines[:20])


def _write_program(sent: IO[bytes], payload: IO[bytes] | None) -> None:
    program = (shipped("export") / "remote.py").read_bytes()
    sent.write(b"%d\n" % len(program) + program)
    if payload is not None:
        payload.seek(0)
        while block := payload.read(2**20):
            sent.write(block)
    sent.seek(0)


def _lines(stream: IO[bytes], silence: float) -> Iterator[str]:
    """Yield lines as they come.

    Raises:
        Dropped: none came for too long.
        MeasurementError: one is longer than any of ours.
    """
    rest = b""
    while True:
        if not select.select([stream], [], [], silence)[0]:
            raise Dropped(f"nothing came for {silence:.0f} s")
        block = os.read(stream.fileno(), 2**16)
        if not block:
            return
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", errors="replace")
        if len(rest) > LONGEST_LINE:
            raise MeasurementError("the far end sent a line without an end")
