"""Parts of a bundle's manifest.json. Rates are fractions, times microseconds."""

from __future__ import annotations

from statistics import fmean

from pydantic import SerializerFunctionWrapHandler, model_serializer

from edgenas.budget import BudgetText
from edgenas.quantities import Statistic
from edgenas.records.folder import StageCost
from edgenas.records.latency import Identity
from edgenas.records.record import Count, Fraction, Interval, Microseconds, NotNegative, Record, Verdict
from edgenas.records.verify import MeasuredLatency


class FileAccuracy(Record):
    """The accuracy of a file, computed by ONNX Runtime.

    Attributes:
        validation_top1: on the validation images that every subnet is scored on.
        test_top1: on the test images.
        test_images: number of test images.
        test_images_by_class: number of test images of each class, in the order of the labels.
        test_top1_by_class: top-1 of each class, its recall; None where the test set has no image of it.
    """

    validation_top1: Fraction
    test_top1: Fraction
    test_images: Count
    test_images_by_class: tuple[Count, ...]
    test_top1_by_class: tuple[Fraction | None, ...]

    @property
    def test_macro_top1(self) -> float | None:
        """Mean top-1 of the classes with test images (balanced accuracy); None where there is none by class."""
        rates = [rate for rate in self.test_top1_by_class if rate is not None]
        return fmean(rates) if rates else None


class FileLatency(MeasuredLatency):
    """The latency of a file on one device; values that are not set are left out of the manifest.

    Attributes:
        predicted_us: predicted median, of files as they were profiled.
        interval_us: lower and upper end of the prediction's interval.
        coverage: nominal coverage of that interval.
        verdict, limited, limit_us, value_us, upper_us, sessions, repeated: see `JudgedLatency`; of the file that is
            meant for the device.
        measured_with: device, runtime and settings.
        cpu: processor of the device.
        os: its operating system.
        preprocessing_included: whether the model normalised pixels itself.
    """

    predicted_us: Microseconds | None = None
    interval_us: Interval | None = None
    coverage: Fraction | None = None
    verdict: Verdict | None = None
    limited: Statistic | None = None
    limit_us: Microseconds | None = None
    value_us: Microseconds | None = None
    upper_us: Microseconds | None = None
    sessions: Count | None = None
    repeated: bool | None = None
    measured_with: Identity
    cpu: str | None
    os: str | None
    preprocessing_included: bool

    @model_serializer(mode="wrap")
    def _set_values(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: value for name, value in serialise(self).items() if name in self.model_fields_set}


class Int8FileLatency(FileLatency):
    """The latency of the int8 file on one device, and of the fp32 file that was timed beside it.

    Attributes:
        fp32_p50_us: median latency of the fp32 file.
        compared_p50_us: that of the int8 file.
        speedup: latency in fp32 divided by latency in int8.
        worth_it: whether int8 is faster by more than the measurements' repeat noise.
        fp32_ci_low_us: lower end of the confidence interval of `fp32_p50_us`.
        fp32_ci_high_us: its upper end.
        fp32_repeat_noise: relative spread over the processes.
    """

    fp32_p50_us: Microseconds
    compared_p50_us: Microseconds
    speedup: NotNegative
    worth_it: bool
    fp32_ci_low_us: Microseconds
    fp32_ci_high_us: Microseconds
    fp32_repeat_noise: NotNegative


class SplitFacts(Record):
    """A split of the data set: the number of its images, and their digest."""

    images: Count
    sha256: str


class SearchFacts(Record):
    """How the network was found, and the costs.

    Attributes:
        strategy: strategy of the search.
        evaluations: subnets that were scored.
        search_seconds: time that scoring took.
        train_seconds: time that the supernet's training took.
        front_networks: networks that were measured.
        budgets: budgets of the search.
        spent: cost of each stage.
    """

    strategy: str
    evaluations: Count
    search_seconds: NotNegative
    train_seconds: NotNegative
    front_networks: Count
    budgets: tuple[BudgetText, ...]
    spent: dict[str, StageCost]


class Samples(Record):
    """The file of sample inputs, their number, and for each model the tolerance of its outputs."""

    file: str
    images: Count
    tolerance: dict[str, NotNegative]
