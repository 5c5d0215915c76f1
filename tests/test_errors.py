"""What messages name: the cause that a reader cannot see, and lists only as long as they are useful."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.config.reading import build_config
from edgenas.errors import ConfigError, SpaceError, UserError, as_typed, oddity, one_of, shortened
from edgenas.files import file_name, read_yaml
from edgenas.space.arch import parse_arch
from edgenas.space.loading import load_space

NBSP, HYPHEN, ZERO_WIDTH, ACCENT = "\N{NO-BREAK SPACE}", "\N{NON-BREAKING HYPHEN}", "\N{ZERO WIDTH SPACE}", "e\u0301"


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        (f"mobile{HYPHEN}96", "U+2011 NON-BREAKING HYPHEN"),
        (f"mobile-96{NBSP}", "U+00A0 NO-BREAK SPACE"),
        (f"mobile-{ZERO_WIDTH}96", "U+200B ZERO WIDTH SPACE"),
        ("mobile-９6", "U+FF19 FULLWIDTH DIGIT NINE"),
    ],
)
def test_a_name_that_only_looks_right_is_answered_with_its_cause(name: str, cause: str) -> None:
    with pytest.raises(
        SpaceError, match=f"it holds {cause[:6].replace('+', '[+]')}.*did you mean 'mobile-96'"
    ) as reported:
        load_space(name)
    assert cause in str(reported.value)


def test_decomposed_names_are_refused_with_their_cause() -> None:
    assert file_name("caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    with pytest.raises(ValueError, match="Unicode form NFD"):
        file_name(f"caf{ACCENT}")


@given(st.text(string.printable.replace("\x0b", "").replace("\x0c", "").strip() + "éü猫", max_size=10))
def test_texts_as_they_are_typed_have_no_oddity(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    assert oddity(composed) == ""
    assert as_typed(composed) == composed.strip()


def test_archs_that_a_spreadsheet_changed_are_answered_with_what_was_meant() -> None:
    for text in ("R16_W8-K3E1", f"r16_w8{HYPHEN}k3e1", "r16_w8\N{EN DASH}k3e1"):
        with pytest.raises(SpaceError, match="did you mean 'r16_w8-k3e1'"):
            parse_arch(text)


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=30), st.integers(1, 8))
def test_long_lists_are_cut_and_counted(entries: list[str], most: int) -> None:
    text = shortened(entries, most)
    named, _, more = text.partition(" and ")
    assert named == ", ".join(entries[:most])
    assert more == (f"{len(entries) - most} more" if len(entries) > most else "")


def test_a_thousand_valid_names_do_not_fill_the_terminal() -> None:
    message = one_of("class_0123", [f"class_{number:04d}" for number in range(1000)])
    assert len(message) < 1000
    assert message.endswith("more")


@pytest.mark.parametrize("place", ["seed", "search.evaluations", "finetune.learning_rate_share"])
def test_numbers_in_configs_are_digits(place: str) -> None:
    section, _, key = place.rpartition(".")
    value = {section: {key: "1_500"}} if section else {key: "1_500"}
    with pytest.raises(ConfigError, match=f"{place}: expected a number in digits, got '1_500'"):
        build_config(value, "a.yaml")


@pytest.mark.parametrize("text", [f"name:{NBSP}a\n", f"train:\n{NBSP} epochs: 3\n"])
def test_yaml_with_no_break_spaces_is_refused_with_its_cause(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="NO-BREAK SPACE"):
        read_yaml(path)
