import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.errors import SpaceError
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.recommendation import recommend_preset


@pytest.mark.parametrize(
    ("image_size_px", "images", "preset"),
    [
        (8, 1_500, "digits-24"),
        (28, 60_000, "mobile-32"),
        (32, 50_000, "mobile-32"),
        (64, 100_000, "mobile-32"),
        (65, 100, "mobile-96"),
        (144, 3_000, "mobile-96"),
        (144, 1_000_000, "mobile-96"),
        (400, 3_000, "mobile-96"),
        (400, 19_999, "mobile-96"),
        (400, 20_000, "mobile-224"),
        (500, 1_281_167, "mobile-224"),
    ],
)
def test_the_size_decides_and_for_large_photographs_the_number(image_size_px: int, images: int, preset: str) -> None:
    assert recommend_preset(image_size_px, images) == preset


@given(st.integers(8, 5_000), st.integers(1, 2_000_000), st.integers(1, 2_000_000), st.integers(0, 5_000))
def test_resolutions_fit_and_more_or_larger_images_never_get_a_smaller_space(
    image_size_px: int, images: int, more: int, pixels: int
) -> None:
    space = load_space(recommend_preset(image_size_px, images))
    assert space.resolution[0] <= image_size_px
    assert min(image_size_px, 96) <= space.resolution[-1]
    larger = load_space(recommend_preset(image_size_px + pixels, images + more))
    assert larger.resolution[-1] >= space.resolution[-1]


def test_the_stated_ratio_of_macs_holds() -> None:
    large, small = (load_space(name).with_classes(10) for name in ("mobile-224", "mobile-96"))
    ratio = cost(large.unroll(large.largest)).macs / cost(small.unroll(small.largest)).macs
    assert ratio == pytest.approx(3.6, abs=0.05)


@pytest.mark.parametrize(
    ("image_size_px", "images", "named"), [(0, 5, "image size"), (32, 0, "number of images"), (-1, 5, "image size")]
)
def test_values_that_are_not_above_zero_are_refused(image_size_px: int, images: int, named: str) -> None:
    with pytest.raises(SpaceError, match=f"{named}: expected a number above zero"):
        recommend_preset(image_size_px, images)
