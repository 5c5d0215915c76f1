"""Configs as people write them: read by YAML 1.2's core schema, nothing twice, nothing run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_texts import refusal

from edgenas.plain_yaml import dump_yaml, parse_yaml

# What YAML itself cannot hold: control characters, and halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
AMBIGUOUS = ["no", "on", "~", "null", "1e3", "010", "1:30", "2024-01-01", "1_000", ".5", ".inf", "=", "<<", "0x1f", "#"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False),
    TEXTS,
    st.sampled_from(AMBIGUOUS),
)
KEYS = st.from_regex(r"[\w .-]{1,8}", fullmatch=True)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@given(VALUES)
def test_what_is_dumped_is_read_back_equal(value: Any) -> None:
    again = parse_yaml(dump_yaml(value))
    assert again == value
    assert repr(again) == repr(value)
    for flow in (True, None):
        assert parse_yaml(dump_yaml(value, flow=flow)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("010", 10),
        ("1e-3", 0.001),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("-.inf", float("-inf")),
        ("{on: 1, 2: 3, ~: 4}", {"on": 1, "2": 3, "~": 4}),
        ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
    ],
)
def test_plain_words_are_what_they_look_like(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


def test_aliases_are_copies() -> None:
    value = parse_yaml("{a: &x [1], b: *x}")
    value["a"].append(2)
    assert value["b"] == [1]


@given(st.text(max_size=40) | st.text("[]{}:,-&*!?'\"#|> \n\ta1<", max_size=40))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    assert "\n" not in refusal(parse_yaml, text)
