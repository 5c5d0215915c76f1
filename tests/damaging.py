"""Ways to damage files, all repeatable by a seed; and the command line called as a user calls it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from edgenas.cli import main

HOSTILE: tuple[Any, ...] = (None, True, 1.5, "text", "\ud800", [], [None], {}, {"a": [{}]})
NO_NUMBERS: tuple[Any, ...] = (float("nan"), float("inf"), 10**40)
Damage = Callable[[bytes, random.Random], bytes]
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def call(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> Outcome:
    """Call `edgenas ARGUMENTS` in this process: a new one takes seconds to import torch.

    Warnings are errors here as in a process with `-W error`; `environment` is added to this process's.
    """
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code: object = 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        mock.patch.object(sys, "argv", ["edgenas", *arguments]),
        mock.patch.dict(os.environ, {"COLUMNS": "200", "_TYPER_FORCE_DISABLE_TERMINAL": "1", **(environment or {})}),
        _notes_on(stderr),
    ):
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
    assert isinstance(code, int)
    return Outcome(code, _text(stdout), _text(stderr))


@contextlib.contextmanager
def _notes_on(stream: io.TextIOWrapper) -> Iterator[None]:
    """Let warnings that are logged go to a stream, as they go to standard error where nobody handles them."""
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder; what locks it is no content."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".lock"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def cut(data: bytes, rng: random.Random) -> bytes:
    """End somewhere inside, as a file does whose writing a full disk stopped."""
    # Not at the very end, where a number that lost a digit would still be one.
    return data[: rng.randrange(1, 9 * len(data) // 10)]


def emptied(data: bytes, rng: random.Random) -> bytes:
    """Nothing, as after a crash of the machine."""
    return b""


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The highest bit of some bytes turned, which text in UTF-8 does not survive."""
    broken = bytearray(data)
    for place in rng.sample(range(len(broken)), 3):
        broken[place] ^= 0x80
    return bytes(broken)


def garbled(data: bytes, rng: random.Random) -> bytes:
    """A block of random bytes, as a failing disk gives."""
    start = rng.randrange(max(1, len(data) - 64))
    return data[:start] + rng.randbytes(64) + data[start + 64 :]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    """All zeros from somewhere on, as file systems leave after a power cut."""
    start = rng.randrange(len(data) // 2)
    return data[:start] + bytes(len(data) - start)


def utf16(data: bytes, rng: random.Random) -> bytes:
    """As an editor saves it that prefers another Unicode."""
    return data.decode().encode("utf-16")


def doubled_line(data: bytes, rng: random.Random) -> bytes:
    """A line at the top level that stands there twice."""
    lines = data.decode().splitlines(keepends=True)
    return "".join([*lines, rng.choice([line for line in lines if line[0].isalpha() and ": " in line])]).encode()


def damage(path: Path, how: Damage, seed: int) -> None:
    """Damage a file in place."""
    path.write_bytes(how(path.read_bytes(), random.Random(f"{path.name} {how.__name__} {seed}")))


def hostile(value: Any, rng: random.Random) -> Any:
    """A value of another type than `value`; instead of numbers also some that no file of ours holds."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    kinds = (int, float) if number else type(value)
    others = [other for other in HOSTILE if isinstance(other, bool) or not isinstance(other, kinds)]
    return rng.choice([*others, *NO_NUMBERS] if number else [other for other in others if other != value])


def at(value: Any, place: Place) -> Any:
    """What stands at a place in nested lists and mappings."""
    for key in place:
        value = value[key]
    return value


def changed(value: Any, place: Place, rng: random.Random) -> Any:
    """`value` with something hostile at `place`, or nothing: a key left out."""
    holder = at(value, place[:-1])
    if isinstance(holder, dict) and rng.random() < 0.2:
        del holder[place[-1]]
    else:
        holder[place[-1]] = hostile(holder[place[-1]], rng)
    return value


def change_json(path: Path, place: Place, seed: int, line: int | None = None) -> None:
    """Put something hostile into a JSON file, or into one line of a JSONL file."""
    rng = random.Random(f"{path.name} {place} {seed}")
    if line is None:
        path.write_text(json.dumps(changed(json.loads(path.read_text()), place, rng)))
        return
    lines = path.read_text().splitlines()
    # What no JSON holds would be passed over as a torn line, which is no mistake.
    row = json.loads(lines[line])
    at(row, place[:-1])[place[-1]] = rng.choice([[], {}, "text"])
    lines[line] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")
