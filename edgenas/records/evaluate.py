"""Records of `edgenas evaluate`, in the folder evaluate/ of a run."""

from __future__ import annotations

from typing import Literal

from edgenas.records.record import ArchText, Count, Fraction, NotNegative, Record

SplitName = Literal["val", "test"]


class AccuracyRow(Record):
    """A row of evaluate/accuracy.jsonl: the accuracy of one network, with every class's own.

    Attributes:
        arch: the network.
        split: split of the images.
        images: number of images.
        calibration_images: training images that recalibrated batch norm.
        weights: digest of the supernet's weights; of the network's own, where it is fine-tuned.
        fine_tuned: whether the network is fine-tuned.
        dataset: name of the images.
        top1: top-1 over all images.
        worst_class: the class with the lowest top-1.
        worst_class_top1: its top-1.
        class_top1: top-1 by class, which is its recall; classes without images are absent.
        macro_top1: mean of the classes' top-1 (balanced accuracy).
        seconds: time that scoring took.
    """

    arch: ArchText
    split: SplitName
    images: Count
    calibration_images: Count
    weights: str
    fine_tuned: bool
    dataset: str
    top1: Fraction
    worst_class: str
    worst_class_top1: Fraction
    class_top1: dict[str, Fraction]
    macro_top1: Fraction
    seconds: NotNegative

    @property
    def key(self) -> tuple[object, ...]:
        """The values that the accuracy depends on: a second row of the same key would state the same."""
        return self.arch, self.split, self.images, self.calibration_images, self.weights
