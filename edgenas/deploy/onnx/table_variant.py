"""The graph variant of a latency table, for a file that its predictions must hold for."""

from __future__ import annotations

from edgenas.errors import UserError, one_of, shown
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.records.latency import UNKNOWN
from edgenas.space.graph_variant import GRAPH_VARIANTS, GraphVariant

Measured = LatencyTable | LatencyPredictor


def variant_like(like: Measured, exporter_version: int) -> GraphVariant:
    """Return the graph variant of fp32 files that were timed for a table or predictor.

    Raises:
        UserError: the variant is unknown, or this exporter cannot write it.
    """
    identity = like.identity_ if isinstance(like, LatencyPredictor) else like.identity
    about = f"like: the latency table of {identity.device}"
    if identity.precision not in ("fp32", UNKNOWN):
        raise UserError(
            f"{about} holds for {identity.precision} files, and export_onnx writes fp32: use "
            "`edgenas export RUN`, or the table of an fp32 device"
        )
    if identity.graph_variant == UNKNOWN:
        raise UserError(
            f"{about} does not state the graph variant of its files: choose one, variant={GRAPH_VARIANTS[0]!r}"
        )
    if identity.exporter_version != exporter_version:
        raise UserError(
            f"{about} holds for exporter version {identity.exporter_version}, this is {exporter_version}: measure "
            "it again with `edgenas profile`"
        )
    named = identity.graph_variant
    for variant in GRAPH_VARIANTS:
        if variant == named:
            return variant
    raise UserError(f"{about} holds for graph variant {shown(named)}; {one_of(str(named), GRAPH_VARIANTS)}")
