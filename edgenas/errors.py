"""Everything edgenas raises on purpose.

    EdgenasError
    ├── UserError (also a ValueError)      what the user can put right; the command line exits with 2
    │   ├── ConfigError                    a config, an override, a budget
    │   ├── SpaceError                     a search space, a gene value, an arch's text
    │   ├── DataError                      images and labels
    │   ├── TableError                     a latency table or device file
    │   ├── RunFolderError                 a run folder: missing stage, another config's results
    │   └── UncalibratedError              a subnet that was not materialised was to be scored or exported
    ├── MeasurementError                   the device, or the timer on it, failed; exits with 1
    ├── ParityError                        the exported file is not the network that was scored; exits with 1
    ├── InfeasibleError                    no network was measured within the budget; exits with 1
    └── Packed                             no failure: a kit was packed, and has to be taken to the device; exits with 0

A message says what was wanted, what came, and what to do. Beside them stands `Stopped`, a KeyboardInterrupt: a
signal asked to stop; exits with 128 + its number.
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
    """Base of every error edgenas raises on purpose."""


class UserError(EdgenasError, ValueError):
    """Something the user can put right."""


class ConfigError(UserError):
    """A config file, an override or a budget is wrong."""


class SpaceError(UserError):
    """A search space, a gene value or an arch's text is wrong."""


class DataError(UserError):
    """Images or labels are missing or unusable."""


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


class Packed(EdgenasError):
    """What has to be timed was packed, and the run waits for the results."""


class Stopped(KeyboardInterrupt):
    """A signal asked to stop. Like Ctrl-C it is no Exception, so that nothing on its way takes it for a failure."""

    def __init__(self, signal_number: int = SIGINT) -> None:
        super().__init__(signal_number)
        self.signal_number = int(signal_number)


OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc"
    r"|could not (create|execute) a primitive$"
    # A library or a thread's stack that found no room, as under `ulimit -v`.
    r"|failed to map segment from shared object|can't start new thread"
)
"""How torch, the library of its convolutions and the system say it, in errors that are no MemoryError."""
MOST_PROBLEMS = 5
_TYPED = {"Pd": "-", "Pi": '"', "Pf": '"', "Cc": "", "Cf": "", "Zs": " ", "Zl": " ", "Zp": " "}
"""What stands for a character of each category on a keyboard."""
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
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is full."""
    return isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error).strip().lower()) is not None


def refuse_grouped_digits(value: Any, annotation: Any) -> Any:
    """Pass on the value of a field; pydantic reads the text `1_500` as 1500, as Python does and YAML does not.

    Raises:
        ValueError: the field takes numbers and no texts, and this is such a text.
    """
    kinds = {annotation, *get_args(annotation)}
    if isinstance(value, str) and "_" in value and kinds & {int, float} and str not in kinds:
        raise ValueError(f"wanted a number in digits, got {shown(value)}")
    return value


def first_line(error: Exception) -> str:
    """What a library's error says, without the pages that some add to it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


NAMES_LISTED = 50
"""Names in one message; sets of images may have a thousand classes."""


def one_of(name: str, valid: Iterable[str], beyond: Iterable[str] = ()) -> str:
    """List the valid names, NAMES_LISTED at most, and the closest one first if `name` looks like a slip of it.

    `beyond` are names that it may be a slip of, too, but that are not listed.
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
    """Return a text as a keyboard writes it: composed letters, plain hyphens and quotes, nothing invisible."""
    letters = unicodedata.normalize("NFKC", text)
    return "".join(_TYPED.get(unicodedata.category(each), each) for each in letters).strip()


def oddity(text: str) -> str:
    """Return what a reader cannot see of a text: invisible, foreign or decomposed letters; empty if there are none."""
    for each in text:
        if each != " " and not each.isascii() and (unicodedata.category(each) in _TYPED or not each.isprintable()):
            return f"it holds U+{ord(each):04X} {unicodedata.name(each, 'UNNAMED CHARACTER')}"
    if unicodedata.normalize("NFC", text) != text:
        return "its letters and accents are apart (Unicode form NFD): write it in form NFC"
    wide = next((each for each in text if unicodedata.normalize("NFKC", each) != each), None)
    return "" if wide is None else f"it holds U+{ord(wide):04X} {unicodedata.name(wide, 'UNNAMED CHARACTER')}"


def slip(name: str, given: Iterable[str]) -> str:
    """Return a question that names the given word which looks like `name`; empty where none does."""
    words = [word[:100] for word in given]
    close = difflib.get_close_matches(name, words, n=1) or [word for word in words if name in word.casefold()]
    return f"; did you mean {name!r} by {close[0]!r}?" if close else ""


LISTED = 5
"""Entries of a list that a message names."""


def shortened(entries: Iterable[str], most: int = LISTED) -> str:
    """Return `a, b, c and 12 more`: the first entries, and how many others there are."""
    texts = list(entries)
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def shown(value: Any) -> str:
    """A value as a message shows it: long ones are shortened."""
    return "nothing" if value is None else _SHORT.repr(value)


def explained(problems: Sequence[Mapping[str, Any]], valid_keys: Sequence[str] = ()) -> str:
    """What pydantic found wrong (`ValidationError.errors()`), in plain words.

    Args:
        problems: as pydantic gives them.
        valid_keys: dotted, sections included; an unknown key is answered with those beside it.
    """
    # A list whose entries are wrong is called too short, too.
    inside = {tuple(problem["loc"][:-1]) for problem in problems if problem["loc"]}
    real = [problem for problem in problems if problem["type"] != "too_short" or tuple(problem["loc"]) not in inside]
    said = [_problem(problem, valid_keys) for problem in real[:MOST_PROBLEMS]]
    more = len(real) - len(said)
    return "; ".join([*said, *[f"and {more} more"] * (more > 0)])


def _problem(problem: Mapping[str, Any], valid_keys: Sequence[str]) -> str:
    place = ".".join(map(str, problem["loc"]))
    kind, context, came = problem["type"], problem.get("ctx", {}), shown(problem["input"])
    if kind == "extra_forbidden":
        section = place.rpartition(".")[0]
        siblings = [key for key in valid_keys if key.rpartition(".")[0] == section]
        return f"unknown key {place!r}; {one_of(place, siblings, valid_keys) if siblings else 'leave it out'}"
    if kind == "missing":
        # Our own validators can only place it in the section that it is missing from.
        return f"{'.'.join(filter(None, (place, context.get('key'))))} is missing"
    lead = f"{place}: " if place else ""
    if kind == "value_error":
        # Our own validators, whose messages say what came.
        return f"{lead}{context['error']}"
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        return f"{lead}{came} is unknown; {one_of(str(problem['input']), valid)}"
    return f"{lead}wanted {_wanted(kind, context, problem['msg'])}, got {came}"


def _wanted(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind in _PLAIN_WORDS:
        return _PLAIN_WORDS[kind].format(**context)
    family, _, rest = kind.partition("_")
    # int_type, int_parsing and int_from_float all want a whole number; string_too_long wants something else.
    if rest in ("type", "parsing", "from_float"):
        return _PLAIN_WORDS.get(family, message)
    return message
