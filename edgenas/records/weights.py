"""WeightsFacts: the source, the licence and the digest of a pretrained network's weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgenas.records.record import Record

HashFrom = Literal["published", "first download", "package", "file"]
"""Source of a digest: stated by the publisher, computed at the first download, in a wheel's RECORD, or computed from a
file of the user's own."""


class WeightsFacts(Record):
    """Description of pretrained weights, for the manifest and the model card of what is made from them.

    Attributes:
        name: the name that `load_pretrained` accepts.
        origin: package and version, URL, or path that the weights are read from.
        licence: licence of the weights as stated by their source; None where it states none.
        sha256: digest of the file, 64 hexadecimal digits.
        hash_from: source of the digest that the file was compared with.
        resolution: input size of the network, pixels.
        num_classes: classes that the network was trained on.
        published_top1_percent: ImageNet top-1 that the publisher states, in percent; None where none is stated.
    """

    name: str
    origin: str
    licence: str | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    hash_from: HashFrom
    resolution: Annotated[int, Field(gt=0)]
    num_classes: Annotated[int, Field(gt=0)]
    published_top1_percent: Annotated[float, Field(gt=0, le=100)] | None
