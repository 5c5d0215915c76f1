"""Everything edgenas raises on purpose.

    EdgenasError
    ├── UserError (also a ValueError)      what the user can put right; the command line exits with 2
    │   ├── ConfigError                    a config, an override, a budget
    │   ├── SpaceError                     a search space, a gene value, an arch's text
    │   ├── DataError                      pictures and labels
    │   ├── TableError                     a latency table or device file
    │   ├── RunFolderError                 a run folder: missing stage, another config's results
    │   └── UncalibratedError              a subnet that was not materialised was to be scored or exported
    ├── MeasurementError                   the device, or the timer on it, failed; exits with 1
    ├── ParityError                        the exported file is not the network that was scored; exits with 1
    └── InfeasibleError                    no network was measured within the budget; exits with 1

A message says what was wanted, what came, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgenasError(Exception):
    """Base of every error edgenas raises on purpose."""


class UserError(EdgenasError, ValueError):
    """Something the user can put right."""


class ConfigError(UserError):
    """A config file, an override or a budget is wrong."""


class SpaceError(UserError):
    """A search space, a gene value or an arch's text is wrong."""


class DataError(UserError):
    """Pictures or labels are missing or unusable."""


class TableError(UserError):
    """A latency table or a device file is missing, broken or of another kind."""


class RunFolderError(UserError):
    """A run folder lacks a stage or belongs to another config."""


class UncalibratedError(UserError):
    """A subnet whose batch-norm statistics were not recalibrated was to be scored or exported."""


class MeasurementError(EdgenasError):
    """The device, or the timer on it, failed."""


class ParityError(EdgenasError):
    """The exported file does not compute what the scored network computes."""


class InfeasibleError(EdgenasError):
    """No network was measured within the budget."""


def one_of(name: str, valid: Iterable[str]) -> str:
    """List the valid names, and the closest one first if `name` looks like a slip of it."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}valid: {', '.join(names)}"
