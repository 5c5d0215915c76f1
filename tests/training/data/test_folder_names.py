"""Names of folders that look the same."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from user_images import draw_class

from edgenas.errors import DataError
from edgenas.training.data.check import check_folder
from edgenas.training.data.folder_names import difference
from edgenas.training.data.image_folder import scan

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
ALIKE = [
    (COMPOSED, DECOMPOSED, "Unicode form"),
    ("hot dog", "hot\xa0dog", "no-break space"),
    ("dog", "dog ", "one at the end"),
    ("dog", "do\u200bg", "invisible"),
]


@pytest.mark.parametrize(("one", "other", "cause"), ALIKE)
def test_one_class_in_two_spellings_is_refused_with_the_cause(one: str, other: str, cause: str, tmp_path: Path) -> None:
    for name in (one, other):
        draw_class(tmp_path / name, 4)
    if len(os.listdir(tmp_path)) < 2:
        pytest.skip("this file system does not distinguish the two names")
    with pytest.raises(DataError, match=cause) as caught:
        scan(tmp_path)
    assert ascii(other) in str(caught.value)


@pytest.mark.parametrize(("one", "other", "cause"), [*ALIKE, ("dog", "Dog", "upper and lower case")])
def test_splits_that_spell_a_class_differently_are_refused_with_the_cause(
    one: str, other: str, cause: str, tmp_path: Path
) -> None:
    for name in ("train/" + one, "train/z", "test/" + other, "test/z"):
        draw_class(tmp_path / name, 4)
    with pytest.raises(DataError, match=cause):
        scan(tmp_path)


def test_classes_that_differ_in_case_are_two_with_a_remark(tmp_path: Path) -> None:
    for name in ("a", "A"):
        draw_class(tmp_path / name, 4)
    if len(os.listdir(tmp_path)) < 2:
        pytest.skip("this file system does not distinguish the two names")
    assert scan(tmp_path).classes == ("A", "a")
    [remark] = check_folder(tmp_path).remarks
    assert "differ only in upper and lower case" in remark


def test_names_that_look_different_are_different() -> None:
    assert difference("dog", "dogs") is None
    assert difference("x²", "x2") is None
    assert difference("dog", "dog") is None
