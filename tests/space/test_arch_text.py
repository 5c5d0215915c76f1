import pytest
from hypothesis import given
from spaces import spaces_and_archs

from edgenas.errors import SpaceError
from edgenas.space.arch import Arch, StageGenes, parse_arch
from edgenas.space.blocks.inverted_residual import InvertedResidualGenes
from edgenas.space.space import SearchSpace


@given(spaces_and_archs(count=6))
def test_text_forms_read_back_and_are_equal_only_for_equal_archs(drawn: tuple[SearchSpace, list[Arch]]) -> None:
    _, archs = drawn
    assert [parse_arch(arch.id) for arch in archs] == archs
    assert len({arch.id for arch in archs}) == len(set(archs))


def test_the_text_form_is_the_documented_one() -> None:
    blocks = (InvertedResidualGenes(3, 3), InvertedResidualGenes(5, 4.5))
    arch = Arch(192, (StageGenes(16, (InvertedResidualGenes(3, 1),)), StageGenes(24, blocks)))
    assert arch.id == str(arch) == "r192_w16-k3e1_w24-k3e3-k5e4.5"


def test_expand_ratios_print_alike_whether_written_as_whole_numbers_or_not() -> None:
    one, other = parse_arch("r16_w8-k3e4"), parse_arch("r16_w8-k3e4.0")
    assert (one, one.id, hash(one)) == (other, other.id, hash(other))


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("", "''"),
        ("r192", "'r192'"),
        ("x192_w16-k3e1", "'x192_w16-k3e1'"),
        ("r_w16-k3e1", "'r_w16-k3e1'"),
        ("r192_w16", "stage 'w16'"),
        ("r192_w16-k3e1_w24-k3x3", "stage 'w24-k3x3'"),
        ("r192_w16-k3e1_w24-k3e3-", "stage 'w24-k3e3-'"),
        ("r192_v16-k3e1", "stage 'v16-k3e1'"),
        ("r192_w16-k3e1_", "stage ''"),
        ("r192_w16-k3e1.", "stage 'w16-k3e1.'"),
    ],
)
def test_malformed_texts_are_refused_and_the_token_named(text: str, token: str) -> None:
    with pytest.raises(SpaceError) as raised:
        parse_arch(text)
    assert token in str(raised.value)
    assert "w24-k3e3" in str(raised.value)
