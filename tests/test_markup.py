"""Names and sentences in each output format: what a reader sees is the text, and nothing of it is a mark."""

from __future__ import annotations

import html.parser
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas import markup

NAMES = (
    *("猫", "<unknown>", "*other*", "a|b", "[bold]x[/bold]", "x`y`z", "a\nb", "\x1b[31mred", "\u202eevil", "שלום"),
    *("می\u200cخواهم", "1. one", "- two", "$x$", "&amp;", "~~a~~", "![i](j)", "{{title}}", "</script>", "\ud800", ""),
)
TEXTS = st.one_of(st.sampled_from(NAMES), st.text(max_size=20))


def shown_by_html(source: str) -> str:
    """What a browser shows of HTML."""
    parts: list[str] = []
    parser = html.parser.HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    parser.feed(source)
    parser.close()
    return "".join(parts)


def shown_by_markdown(source: str) -> str:
    """What CommonMark shows of text in which every mark is escaped (section 2.4 of its specification)."""
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|#~$&]", source)
    assert not re.match(r"(?:[-+]|[0-9]{1,9}[.)])(?:\s|$)", source)
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", source)


@given(TEXTS)
def test_every_format_shows_the_text_itself(text: str) -> None:
    expected = markup.visible(text)
    assert shown_by_html(markup.html(text)) == expected
    assert shown_by_html(markup.plotly(text)) == expected
    assert shown_by_markdown(markup.markdown(text)) == expected


@given(TEXTS)
def test_visible_text_is_one_line_without_controls(text: str) -> None:
    shown = markup.visible(text)
    assert len(shown.splitlines()) <= 1
    assert all(each in markup.JOINERS or unicodedata.category(each)[0] not in "CZ" or each == " " for each in shown)
    assert markup.visible(shown) == shown
    shown.encode("utf-8")


@given(TEXTS)
def test_names_stay_names_in_sentences(text: str) -> None:
    name = markup.name_in_sentence(text)
    assert len(name) <= markup.LONGEST_NAME + 2
    sentence = f"of {name}, see `edgenas export`."
    assert shown_by_html(markup.html_sentence(sentence)) == sentence.replace("`", "")
    assert markup.html_sentence(sentence).count("<code>") == 1
    before, code, after = markup.markdown_sentence(sentence).split("`")
    assert (shown_by_markdown(before), code, after) == (f"of {name}, see ", "edgenas export", ".")


def test_names_from_right_to_left_are_isolated() -> None:
    assert markup.name_in_sentence("שלום") == "\u2068שלום\u2069"
    assert "\u2068" in markup.html_sentence(markup.name_in_sentence("שלום"))


@given(st.lists(TEXTS, unique=True, max_size=6), st.integers(2, 5))
def test_shortened_labels_stay_distinct(names: list[str], most: int) -> None:
    labels = markup.distinct_names(names, most)
    assert len(set(labels)) == len(labels)
    assert all(len(re.sub(r" \([0-9]+\)$", "", label)) <= most for label in labels)


def test_a_fence_is_longer_than_the_backticks_inside() -> None:
    assert markup.markdown_fence("a: '````'", "yaml") == ["`````yaml", "a: '````'", "`````"]


@pytest.mark.parametrize("text", ["**bold**", "a\nb"])
def test_ready_markdown_is_left_alone(text: str) -> None:
    assert markup.markdown(markup.Ready(text)) == text
    assert markup.markdown_sentence(markup.Ready(text)) == text
