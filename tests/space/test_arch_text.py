import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spaces import EVERY_SPACE, SMALL, spaces_and_archs

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


NETWORKS = ["efficientnet-lite1", "torchvision:mobilenet_v2@IMAGENET1K_V2", "hf:some_one/A-b.c"]


@pytest.mark.parametrize("network", NETWORKS)
def test_an_arch_of_a_pretrained_network_begins_with_its_name(network: str) -> None:
    arch = parse_arch("r192_w16-k3e1")
    named = dataclasses.replace(arch, network=network)
    assert named.id == f"{network}:r192_w16-k3e1"
    assert parse_arch(named.id) == named != arch
    assert not set(named.file_name) & set(':/@ \\"')


@pytest.mark.parametrize(
    ("text", "network"),
    [(":r8_w8-k3e1", "''"), ("a b:r8_w8-k3e1", "'a b'"), ("../x:r8_w8-k3e1", "'../x'")],
)
def test_names_that_no_network_has_are_refused(text: str, network: str) -> None:
    with pytest.raises(SpaceError, match=f"name of a pretrained network .* got {network}"):
        parse_arch(text)


def test_a_slip_in_the_genes_is_corrected_without_a_change_of_the_name() -> None:
    with pytest.raises(SpaceError, match="did you mean 'timm:Net:r8_w8-k3e1'"):
        parse_arch("timm:Net:R8_W8-K3E1")


@given(st.data())
def test_archs_of_several_spaces_have_one_order_and_those_of_a_space_are_neighbours(data: st.DataObject) -> None:
    networks = dict.fromkeys(["", *NETWORKS])
    spaces = data.draw(st.permutations(list(EVERY_SPACE.values())))
    archs = [
        dataclasses.replace(arch, network=network)
        for network, space in zip(networks, spaces, strict=False)
        for arch in (space.smallest, space.largest)
    ]
    ordered = sorted(data.draw(st.permutations(archs)))
    assert ordered == sorted(archs)
    assert list(dict.fromkeys(arch.network for arch in ordered)) == sorted(networks)


@pytest.mark.parametrize("network", ["", "efficientnet-lite0"])
def test_a_space_takes_archs_of_its_own_network_alone(network: str) -> None:
    space = SMALL.model_copy(update={"network": network}).with_classes(2)
    other = dataclasses.replace(space.smallest, network="efficientnet-lite1")
    assert space.parse(space.smallest.id) == space.smallest
    for refused in (lambda: space.parse(other.id), lambda: space.encode([other]), lambda: space.unroll(other)):
        with pytest.raises(SpaceError, match=r"efficientnet-lite1:.*begin with"):
            refused()
