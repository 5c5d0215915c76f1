"""YAML of plain values for configs: no objects, no duplicate keys, types by the core schema of YAML 1.2."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from edgenas.errors import UserError, oddity, shown

MOST_VALUES = 20_000
"""Maximum number of values, far above any config's; a few lines of aliases can unfold to billions."""
MOST_DIGITS = 18
"""Maximum number of digits of a whole number, which then fits in 64 bits."""


def parse_yaml(text: str) -> Any:
    """Read texts, numbers, true, false, null, lists, and mappings whose keys are texts.

    Raises:
        UserError: the text is invalid, with line and column.
    """
    try:
        node = yaml.compose(text, _Loader)
        return None if node is None else _value(node, itertools.count(1))
    except yaml.MarkedYAMLError as error:
        # This message needs its context to be a sentence.
        context = f"{error.context}, " if str(error.problem).startswith("but ") else ""
        raise _refused(error.problem_mark or error.context_mark, f"{context}{error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(" ".join(str(error).split())) from None
    except RecursionError:
        raise UserError("it is nested too deeply") from None


class _Loader(yaml.SafeLoader):
    """Resolve plain scalars by the core schema of YAML 1.2.

    In YAML 1.1, which PyYAML follows, `no` is false, 1:30 is 90, 010 is 8, and 1e-3 is a text.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012


_KINDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": (r"~|null|Null|NULL|", lambda text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: {"true": True, "false": False}[text.lower()]),
    "int": (r"[-+]?[0-9]+", int),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    ),
    "str": (r"(?!)", str),
}


class _Dumper(yaml.SafeDumper):
    """Quote texts that either version of YAML would read as another type."""


for _name, (_pattern, _read) in _KINDS.items():
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), None)


def dump_yaml(value: Any, *, flow: bool | None = False) -> str:
    """Return plain values as YAML, keys in their order.

    Args:
        value: texts, numbers, lists and mappings.
        flow: whether lists and mappings are in brackets, in one line; None: the innermost ones are.
    """
    width = math.inf if flow is not False else 80
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width)


def _value(node: yaml.Node, count: Iterator[int]) -> Any:
    """Return the value of a node. Aliases become copies, which do not share changes."""
    if next(count) > MOST_VALUES:
        raise _refused(node.start_mark, f"it unfolds to more than {MOST_VALUES:,} values")
    if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
        return _mapping(node, count)
    if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
        return [_value(item, count) for item in node.value]
    return _scalar(node)


def _mapping(node: yaml.MappingNode, count: Iterator[int]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in node.value:
        # Keys are texts as written: in `{on: 1, 2: 3}` they are "on" and "2".
        if not isinstance(key, yaml.ScalarNode) or not key.value.isprintable():
            cause = oddity(key.value) if isinstance(key, yaml.ScalarNode) else ""
            raise _refused(key.start_mark, f"a key must be a word{cause and f'; {cause}'}")
        if key.value in mapping:
            raise _refused(key.start_mark, f"the key {shown(key.value)} occurs twice: delete one")
        mapping[key.value] = _value(value, count)
    return mapping


def _scalar(node: yaml.Node) -> Any:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if not isinstance(node, yaml.ScalarNode) or kind not in _KINDS:
        raise _refused(node.start_mark, f"the tag {shown(node.tag)} is not supported: leave it out")
    text: str = node.value
    # A path cannot contain NUL, and a file cannot contain half of a surrogate pair.
    if re.search("[\0\ud800-\udfff]", text):
        raise _refused(node.start_mark, f"{shown(text)} has characters that are not valid in a text")
    if kind == "int" and len(text) > MOST_DIGITS:
        raise _refused(node.start_mark, f"a whole number of {len(text)} digits")
    try:
        return _KINDS[kind][1](text)
    except (ValueError, KeyError):
        raise _refused(node.start_mark, f"{shown(text)} is no {kind}") from None


def _refused(mark: yaml.Mark | None, problem: str) -> UserError:
    return UserError(f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem)
