"""The texts of ours that users write: one that is no more what it was is read or refused, but breaks nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import edgenas
from edgenas.budget import parse_budget
from edgenas.config.reading import config_keys, load_config
from edgenas.errors import UserError, explained, one_of, shown
from edgenas.profiling.ssh_connection import parse_place
from edgenas.space.arch import parse_arch
from edgenas.space.blocks import parse_block
from edgenas.supernet.pretrained.named_sources import source_of

DEMO = Path(edgenas.__file__).parent / "demo.yaml"
READERS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "budget": (parse_budget, ("8ms", "pi4=20ms@p95", "macs=10M", "weight_bytes=400kB", "0.5 µs")),
    "arch": (parse_arch, ("r192_w16-k3e1_w24-k3e3-k5e4", "r28_w16-k3e1.5")),
    "place": (parse_place, ("ssh://pi@pi4.local:2222?python=/opt/venv/bin/python", "ssh://[fe80::1]", "ssh://a:b@c")),
    "network": (source_of, ("torchvision:mobilenet_v2@IMAGENET1K_V1", "timm:lcnet_050@net.pth", "hf:a/b", "ofa:w1.0")),
    "block": (parse_block, ("ir_i24_r56_o40_m96_k5_s2_se24_hardswish", "stem_i3_r28_o16_k3_s1_relu")),
}
CHARACTERS = st.sampled_from("0123456789._-=@kMeErw nµ٣\0\ud800é") | st.characters()


def refusal(read: Callable[[str], object], text: str) -> str:
    """Return the error message for a text, empty where it is accepted. Any other error than ours is a failure."""
    try:
        read(text)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", READERS)
@given(st.data())
def test_a_damaged_text_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    read, valid = READERS[kind]
    text = list(data.draw(st.sampled_from(valid)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text)))
        # Replaced, removed, inserted or repeated.
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(st.lists(CHARACTERS, max_size=2))
    text *= data.draw(st.sampled_from([1, 1, 1, 99]))
    assert len(refusal(read, "".join(text))) < 700


@given(st.text(max_size=12), st.text(max_size=12))
@example("budgets", "[8]")
@example("", "")
def test_any_override_is_taken_or_refused(key: str, value: str) -> None:
    refusal(lambda override: load_config(DEMO, [override]), f"{key}={value}")


def test_shown_values_stay_short() -> None:
    assert len(shown(["x" * 1000] * 1000)) < 1000
    assert len(shown({str(n): [n] * 100 for n in range(1000)})) < 1000
    assert shown(None) == "nothing"


def test_slips_are_found_whatever_their_case_and_beyond_what_is_listed() -> None:
    assert one_of("CIFAR-10", ["cifar10", "digits"]).startswith("did you mean 'cifar10'?")
    assert one_of("mnist", ["fashion-mnist"]).startswith("did you mean 'fashion-mnist'?")
    assert one_of("epochs", ["seed"], config_keys()) == "did you mean 'train.epochs'? valid: seed"


def test_many_problems_are_reported_in_few_words() -> None:
    problems = [{"type": "missing", "loc": (str(n),), "input": None, "msg": ""} for n in range(9)]
    assert explained(problems) == "0 is missing; 1 is missing; 2 is missing; 3 is missing; 4 is missing; and 4 more"


class Example(BaseModel):
    model_config = ConfigDict(strict=True)

    path: str = Field("a", pattern="^[a-z]+$", min_length=1, max_length=9)
    count: int = Field(0, ge=0)
    pair: tuple[int, int] = (0, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"path": "../a"}, "path: expected a text that matches ^[a-z]+$, got '../a'"),
        ({"path": ""}, "path: expected a text of at least 1 characters, got ''"),
        ({"path": "a" * 10}, "path: expected a text of at most 9 characters, got 'aaaaaaaaaa'"),
        ({"path": 3}, "path: expected a text, got 3"),
        ({"count": -1}, "count: expected a number of at least 0, got -1"),
        ({"count": "1"}, "count: expected a whole number, got '1'"),
        ({"count": None}, "count: expected a whole number, got nothing"),
        ({"pair": "ab"}, "pair: expected a list, like [a, b], got 'ab'"),
        ("a", "expected keys and values (key: value), got 'a'"),
    ],
)
def test_errors_of_values_state_what_was_expected_and_what_was_given(value: object, message: str) -> None:
    with pytest.raises(ValidationError) as reported:
        Example.model_validate(value)
    assert explained(reported.value.errors()) == message
