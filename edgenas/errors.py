"""The exceptions that edgenas raises, and how messages are worded.

    EdgenasError
    ├── UserError (also a ValueError)      an error that the user can fix; exit code 2
    │   ├── ConfigError                    a config, an override, a budget
    │   ├── SpaceError                     a search space, a gene value, an architecture's text
    │   ├── DataError                      images and labels
    │   ├── WeightsError                   pretrained weights
    │   ├── TableError                     a latency table or device file
    │   ├── RunFolderError                 a run folder: missing stage, another config's results
    │   └── UncalibratedError              scoring or exporting a subnet that was not materialised
    ├── MeasurementError                   the device, or the timer on it, failed; exit code 1
    ├── ParityError                        the exported file is not the network that was scored; exit code 1
    ├── InfeasibleError                    no network was measured within the budget; exit code 1
    └── Packed                             no failure: a kit was packed for the device; exit code 0

A message states what was expected, what was given, and how to fix it. `Stopped`, a KeyboardInterrupt, is raised on a
signal; exit code 128 + its number.
"""

from __future__ import annotations

import difflib
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from signal import SIGINT
from typing import Any, get_args


class EdgenasError(Exception):
    """Base of all errors that edgenas raises."""


class UserError(EdgenasError, ValueError):
    """An error that the user can fix."""


class ConfigError(UserError):
    """A config file, an override or a budget is wrong."""


class SpaceError(UserError):
    """A search space, a gene value or an architecture's text is wrong."""


class DataError(UserError):
    """Images or labels are missing or unusable."""


class WeightsError(UserError):
    """Pretrained weights are unknown, missing, damaged or not safe to load."""


class TableError(UserError):
    """A latency table or a device file is missing, broken or of another kind."""


class RunFolderError(UserError):
    """A run folder lacks a stage or belongs to another config."""


class UncalibratedError(UserError):
    """A subnet is scored or exported without recalibrated batch norm."""


class MeasurementError(EdgenasError):
    """The device, or the timer on it, failed."""


class ParityError(EdgenasError):
    """The exported file does not compute what the scored network computes."""


class InfeasibleError(EdgenasError):
    """No network was measured within the budget."""


class Packed(EdgenasError):
    """A kit of models to time was packed, and the run waits for its results."""


class Stopped(KeyboardInterrupt):
    """A signal stopped the process. Like Ctrl-C it is no Exception, so that no handler takes it for a failure."""

    def __init__(self, signal_number: int = SIGINT) -> None:
        super().__init__(signal_number)
        self.signal_number = int(signal_number)


OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc"
    r"|could not (create|execute) a primitive$"
    # No memory for a library or a thread's stack, as under `ulimit -v`.
    r"|failed to map segment from shared object|can't start new thread"
)
"""Messages of torch, oneDNN and the system for full memory, in errors that are no MemoryError."""
MOST_PROBLEMS = 5
_TYPED = {"Pd": "-", "Pi": '"', "Pf": '"', "Cc": "", "Cf": "", "Zs": " ", "Zl": " ", "Zp": " "}
"""Keyboard character for each Unicode category."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_PLAIN_WORDS = {
    "bool": "true or false",
    "dict": "keys and values (key: value)",
    "float": "a number",
    "finite_number": "a finite number",
    "int": "a whole number",
    "list": "a list, like [a, b]",
    "model": "keys and values (key: value)",
    "path": "a path",
    "string": "a text",
    "tuple": "a list, like [a, b]",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports full memory."""
    return isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error).strip().lower()) is not None


def refuse_grouped_digits(value: Any, annotation: Any) -> Any:
    """Return the value of a field, unless it is a text like `1_500`, which pydantic would read as 1500.

    Raises:
        ValueError: the field is a number, and the value is such a text.
    """
    kinds = {annotation, *get_args(annotation)}
    if isinstance(value, str) and "_" in value and kinds & {int, float} and str not in kinds:
        raise ValueError(f"expected a number in digits, got {shown(value)}")
    return value


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message, which may have pages."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


NAMES_LISTED = 50
"""Maximum number of names in a message; data sets may have a thousand classes."""


def one_of(name: str, valid: Iterable[str], beyond: Iterable[str] = ()) -> str:
    """Return a list of at most NAMES_LISTED valid names, with the closest one as a suggestion first.

    `beyond` are further names that are suggested, but not listed.
    """
    names = sorted(valid)
    lowered = {other.lower(): other for other in (*beyond, *names)}
    slip = as_typed(name).lower()[:100]
    parts = [other for other in lowered if len(slip) > 2 and slip in other]
    close = difflib.get_close_matches(slip, lowered, n=1) or parts
    hint = f"did you mean {lowered[close[0]]!r}? " if close else ""
    if cause := oddity(name):
        hint = f"{cause}; {hint}"
    return f"{hint}valid: {shortened(names, NAMES_LISTED)}"


def as_typed(text: str) -> str:
    """Return a text as typed on a keyboard: composed letters, plain hyphens and quotes, no invisible characters."""
    letters = unicodedata.normalize("NFKC", text)
    return "".join(_TYPED.get(unicodedata.category(each), each) for each in letters).strip()


def oddity(text: str) -> str:
    """Return a description of an invisible, foreign or decomposed letter of a text; empty if there is none."""
    for each in text:
        if each != " " and not each.isascii() and (unicodedata.category(each) in _TYPED or not each.isprintable()):
            return f"it holds U+{ord(each):04X} {unicodedata.name(each, 'UNNAMED CHARACTER')}"
    if unicodedata.normalize("NFC", text) != text:
        return "its letters and accents are decomposed (Unicode form NFD): write it in form NFC"
    wide = next((each for each in text if unicodedata.normalize("NFKC", each) != each), None)
    return "" if wide is None else f"it holds U+{ord(wide):04X} {unicodedata.name(wide, 'UNNAMED CHARACTER')}"


def slip(name: str, given: Iterable[str]) -> str:
    """Return a suggestion of `name` for the given word that looks like it; empty if none does."""
    words = [word[:100] for word in given]
    close = difflib.get_close_matches(name, words, n=1) or [word for word in words if name in word.casefold()]
    return f"; did you mean {name!r} by {close[0]!r}?" if close else ""


LISTED = 5
"""Maximum number of list entries in a message."""


def shortened(entries: Iterable[str], most: int = LISTED) -> str:
    """Return the first entries and the number of the others, like `a, b, c and 12 more`."""
    texts = list(entries)
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def shown(value: Any) -> str:
    """Return a value as text for a message, shortened if long."""
    return "nothing" if value is None else _SHORT.repr(value)


def explained(problems: Sequence[Mapping[str, Any]], valid_keys: Sequence[str] = ()) -> str:
    """Return the errors of pydantic (`ValidationError.errors()`) in plain words.

    Args:
        problems: errors of pydantic.
        valid_keys: dotted keys, sections included; for an unknown key, those of its section are listed.
    """
    # pydantic reports a list with wrong entries as too short, too.
    inside = {tuple(problem["loc"][:end]) for problem in problems for end in range(len(problem["loc"]))}
    real = [problem for problem in problems if problem["type"] != "too_short" or tuple(problem["loc"]) not in inside]
    messages = [_problem(problem, valid_keys) for problem in real[:MOST_PROBLEMS]]
    if len(real) > len(messages):
        messages.append(f"and {len(real) - len(messages)} more")
    return "; ".join(messages)


def _problem(problem: Mapping[str, Any], valid_keys: Sequence[str]) -> str:
    key = ".".join(map(str, problem["loc"]))
    kind, context, given = problem["type"], problem.get("ctx", {}), shown(problem["input"])
    if kind == "extra_forbidden":
        section = key.rpartition(".")[0]
        siblings = [valid for valid in valid_keys if valid.rpartition(".")[0] == section]
        return f"unknown key {key!r}; {one_of(key, siblings, valid_keys) if siblings else 'leave it out'}"
    if kind == "missing":
        # Validators of edgenas report the section that lacks the key.
        return f"{'.'.join(filter(None, (key, context.get('key'))))} is missing"
    lead = f"{key}: " if key else ""
    if kind == "value_error":
        # Validators of edgenas state the given value.
        return f"{lead}{context['error']}"
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        if problem["input"] is None:
            return f"{lead}expected one of {', '.join(valid)}, got nothing"
        return f"{lead}{given} is unknown; {one_of(str(problem['input']), valid)}"
    return f"{lead}expected {_expected(kind, context, problem['msg'])}, got {given}"


def _expected(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind in _PLAIN_WORDS:
        return _PLAIN_WORDS[kind].format(**context)
    # int_type, int_parsing, int_parsing_size and int_from_float all expect a whole number.
    family, _, rest = kind.partition("_")
    if family in _PLAIN_WORDS and rest in ("type", "parsing", "parsing_size", "from_float"):
        return _PLAIN_WORDS[family]
    return message.removeprefix("Input should be ")
