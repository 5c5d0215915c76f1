"""Notes on few and on unequal images."""

import numpy as np
import pytest

from edgenas.training.data.notes import few_image_notes, imbalance_notes, is_unequal


def test_classes_with_fewer_than_20_images_are_noted_with_what_to_expect() -> None:
    [note] = few_image_notes({"cat": 40, "dog": 12, "eel": 19}, 1000)
    assert note.startswith("2 of 3 classes have fewer than 20 training images (12 of 'dog'):")
    assert "pretrained network" in note
    assert "several points" in note
    assert few_image_notes({"cat": 20, "dog": 20}, 300) == []


@pytest.mark.parametrize("images", [63, 299])
def test_fewer_than_300_validation_images_are_noted_with_their_sampling_error(images: int) -> None:
    [note] = few_image_notes({"cat": 100}, images)
    assert note.startswith(f"{images} validation images: ")
    drawn = np.random.default_rng(0).binomial(images, 0.8, 20_000) / images
    assert f"±{100 * drawn.std():.1f} points" in note or f"±{100 * drawn.std() + 0.05:.1f} points" in note


def test_unequal_means_more_than_three_times() -> None:
    assert not is_unequal([10, 30])
    assert is_unequal([10, 31])
    assert imbalance_notes({"a": 10, "b": 30}) == []
    [note] = imbalance_notes({"a": 10, "b": 31})
    assert "10 training images of 'a', 31 of 'b'" in note
