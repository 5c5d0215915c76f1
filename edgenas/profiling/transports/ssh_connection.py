"""Commands to the far end of an SSH connection, `export/remote.py`, through the system's OpenSSH client."""

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

from edgenas.errors import MeasurementError
from edgenas.files import shipped
from edgenas.profiling.place import Place
from edgenas.profiling.timer_rows import printable

BOOT = (
    "import sys;sys.path=[p for p in sys.path if p];"
    "exec(compile(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())),'remote.py','exec'))"
)
"""Python that reads the far end's program from the connection: nothing has to be there before, and nothing is imported
from the home folder there, which `-c` puts on the path."""
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
"""Of ssh's words: trying again does not help."""
Answer = tuple[str, str]
"""A word and a text."""
LOGGER = logging.getLogger(__name__)


class Dropped(Exception):
    """The connection ended before the command did."""


@dataclass(frozen=True)
class Connection:
    """One folder on a machine elsewhere.

    Attributes:
        place: the machine.
        token: of the folder and of every answer; nobody there can know it before.
    """

    place: Place
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    def ask(
        self, verb: str, *arguments: str, payload: IO[bytes] | None = None, silence: float = SILENCE_SECONDS
    ) -> Iterator[Answer]:
        """Do one command; gives its answers, a word and a text each, as they come.

        Args:
            verb: see `export/remote.py`.
            arguments: its arguments.
            payload: what it reads.
            silence: how many seconds without an answer mean that the connection is dead.

        Raises:
            Dropped: the connection was lost, or never came about.
            MeasurementError: the command failed there.
        """
        if shutil.which("ssh") is None:
            raise MeasurementError("there is no `ssh` here: install OpenSSH's client (Debian: openssh-client)")
        with tempfile.TemporaryFile() as sent, tempfile.TemporaryFile() as words:
            _write_program(sent, payload)
            # In a session of its own: Ctrl-C is for this process, which still has to clear up over there.
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
                            raise MeasurementError(f"{self.place}: {_said(text)}")
                        yield word, text
                    process.wait(ENDING_SECONDS)
                except subprocess.TimeoutExpired:
                    raise Dropped("ssh does not end") from None
                finally:
                    process.kill()
            words.seek(0)
            raise self._failure(process.returncode, words.read(2**16).decode("utf-8", errors="replace"))

    def persist(self, ask: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
        """Answers; when the connection is lost, it is asked again, until none came for too long.

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

    def _failure(self, code: int, said: str) -> Exception:
        tail = "\n".join(printable(line) for line in said.strip().splitlines()[-5:])
        if code == SSH_FAILED or code < 0:
            return Dropped(tail or "without a word")
        if code == 127:
            return MeasurementError(
                f"{self.place} has no {self.place.python}: install Python 3.9 or newer there, or say where it is with "
                f"?python=/path/to/python3 ({tail})"
            )
        return MeasurementError(f"{self.place}: the far end failed with exit code {code}:\n{tail}")


def _said(text: str) -> str:
    """A text in JSON form, line by line printable."""
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
    """Lines as they come.

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
