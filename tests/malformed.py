"""Ways to damage files, all repeatable by a seed; and the command line called as a user calls it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from edgenas.cli import main

DEEP = "[" * 100_000
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
"""Twelve lines that unfold to 10**12 values ("billion laughs")."""
HOSTILE: tuple[Any, ...] = (None, True, -1, 1.5, "text", "\ud800", [], [None], {}, {"a": [{}]}, float("nan"), 10**40)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def call(*arguments: str, cwd: Path) -> Outcome:
    """`edgenas ARGUMENTS` in this process: a new one for each of many cases would take minutes."""
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code: object = 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        mock.patch.object(sys, "argv", ["edgenas", *arguments]),
        mock.patch.dict(os.environ, {"COLUMNS": "200"}),
    ):
        try:
            main()
        except SystemExit as left:
            code = left.code
    for stream in (stdout, stderr):
        stream.flush()
    said = [stream.buffer.getvalue().decode() for stream in (stdout, stderr)]  # type: ignore[attr-defined]
    return Outcome(code if isinstance(code, int) else 0, *said)


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder; what locks it is no content."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".lock"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


Damage = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, rng: random.Random) -> bytes:
    """End somewhere inside, as a write does that a full disk stops."""
    return data[: rng.randrange(1, max(2, len(data.rstrip()) - 1))]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The highest bit of some bytes turned, which text in UTF-8 does not survive."""
    broken = bytearray(data)
    for _ in range(3):
        broken[rng.randrange(len(broken))] ^= 0x80
    return bytes(broken)


def garbled(data: bytes, rng: random.Random) -> bytes:
    """A block of random bytes, as a failing disk gives."""
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(64) + data[start + 64 :]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    """All zeros from somewhere on, as file systems leave after a power cut."""
    start = rng.randrange(len(data) // 2)
    return data[:start] + bytes(len(data) - start)


def utf16(data: bytes, rng: random.Random) -> bytes:
    """As an editor saves it that knows another Unicode."""
    return data.decode().encode("utf-16")


def doubled_key(data: bytes, rng: random.Random) -> bytes:
    """A line of YAML at the top level that stands there twice."""
    lines = data.decode().splitlines(keepends=True)
    again = rng.choice([line for line in lines if line[0].isalpha()])
    return "".join([*lines, again]).encode()


def unmatched(data: bytes, rng: random.Random) -> bytes:
    """One bracket or quote more."""
    start = rng.randrange(len(data))
    return data[:start] + rng.choice([b"[", b"{", b'"']) + data[start:]


def apply(path: Path, damage: Damage, seed: int) -> None:
    """Damage a file in place."""
    path.write_bytes(damage(path.read_bytes(), random.Random(f"{path.name} {damage.__name__} {seed}")))


def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where everything stands in nested lists and mappings, outermost first."""
    found = [prefix] if prefix else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        found += places(part, (*prefix, key))
    return found


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """`value` with `new` at `place`."""
    target = value
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = new
    return value


def removed(value: Any, place: tuple[Any, ...]) -> Any:
    """`value` without what stands at `place`."""
    target = value
    for key in place[:-1]:
        target = target[key]
    del target[place[-1]]
    return value


def swaps(value: Any) -> list[Any]:
    """Hostile values of another type than `value`, and numbers that no file of ours holds."""
    kind = (int, float) if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)
    never = [new for new in HOSTILE if isinstance(new, float) and new != new or new == 10**40]
    return [
        new for new in HOSTILE if not isinstance(new, kind) or isinstance(new, bool) != isinstance(value, bool)
    ] + never


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Write a JSON file anew with a change; NaN and halves of surrogate pairs are written as they are."""
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
