"""Places: where a device is, as `--on` says. They hold host and user names, and are kept in no file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from edgenas.errors import ConfigError, shown

FORM = "ssh://[user@]host[:port][?python=/path/to/python3]"
BROWSER = "browser"
"""The place that is no machine elsewhere, but a web browser on this one."""
# None may begin with a dash, which ssh would take for an option, or hold what a shell takes for more than a word.
_PLACE = re.compile(
    r"ssh://(?:(?P<user>\w[\w.+-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?/?"
    r"(?:\?(?P<options>.*))?",
    re.ASCII,
)
_PYTHON = re.compile(r"[\w~/.][\w~/.+-]{0,300}", re.ASCII)


@dataclass(frozen=True)
class Place:
    """A machine that the system's ssh reaches; what is not said is up to the user's ssh config."""

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"

    def __str__(self) -> str:
        """As messages name it."""
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{user}{self.host}{port}"


def parse_place(text: str) -> Place:
    """Read `ssh://user@host:port?python=/path`; `browser` is up to those who ask.

    Raises:
        ConfigError: it is something else, or holds a password.
    """
    if re.match(r"ssh://[^/?@]*:[^/?]*@", text):
        # Not shown: it would stand in logs.
        raise ConfigError(f"--on: no password is taken, use a key (`ssh-copy-id` puts it there); wanted {FORM}")
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ConfigError(f"--on: wanted {FORM}, or {BROWSER}, got {shown(text)}")
    options = dict(parse_qsl(match["options"] or "", keep_blank_values=True))
    python = options.pop("python", "python3")
    port = int(match["port"]) if match["port"] else None
    if options or not _PYTHON.fullmatch(python) or not 1 <= (22 if port is None else port) < 2**16:
        raise ConfigError(f"--on: wanted {FORM}, got {shown(text)}")
    return Place(match["host"].strip("[]"), match["user"], port, python)
