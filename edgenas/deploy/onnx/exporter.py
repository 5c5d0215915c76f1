"""The one exporter: blocks and networks for timing, and the final model, written the same way.

Everything is exported block by block (see `block_trace`) and stitched, so a network consists of exactly the graphs that
its blocks are timed as.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from edgenas.deploy.onnx.block_graphs import BlockGraph, Port, open_batch, stitch
from edgenas.deploy.onnx.block_trace import block_graphs, folded_copy, random_block, sizeless
from edgenas.deploy.onnx.graph_variants import as_variant, with_padding
from edgenas.deploy.onnx.table_variant import Measured, variant_like
from edgenas.errors import UserError
from edgenas.files import write_bytes
from edgenas.first_bytes import stand_in_cause
from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stem import StemSpec
from edgenas.space.graph_variant import GRAPH_VARIANTS, GraphVariant
from edgenas.supernet.subnet import Subnet

EXPORTER_VERSION = 1
"""Part of every latency table's identity: raised whenever exported graphs change."""

LOGGER = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


def export_onnx(
    subnet: Subnet,
    path: str | Path,
    *,
    variant: GraphVariant | None = None,
    like: Measured | None = None,
    for_timing: bool = False,
    dynamic_batch: bool = False,
) -> Path:
    """Write a subnet as one ONNX file: batch norm folded, static shapes, batch 1, fp32.

    Input `pixels` (1, 3, resolution, resolution), preprocessed; output `logits` (1, classes). Names of nodes
    and weights begin with stage and block. The subnet is not modified.

    Args:
        subnet: the subnet to export.
        path: path of the file; an old one is replaced.
        variant: the operators that the graph is written in, see `space.graph_variant`. Without `variant` and `like`
            it is `direct`, and a warning is logged: latencies of a table may be those of another variant.
        like: a latency table or predictor whose latencies must hold for the file, which gets the variant that was
            measured for it.
        for_timing: allow an uncalibrated subnet. The file's metadata state it, and bundles refuse it.
        dynamic_batch: leave the batch dimension of input and output open.

    Raises:
        UncalibratedError: the subnet was not calibrated, and `for_timing` is false.
        UserError: `variant` and `like` are both given, or no fp32 file can match the table.
    """
    variant = _chosen_variant(variant, like)
    if not for_timing:
        subnet.require_calibrated("export")
    blocks = [folded_copy(block) for block in subnet.blocks.values()]
    graphs = block_graphs(blocks, subnet.specs)
    arch = subnet.arch.id if subnet.arch else ""
    model = _network(subnet.specs, graphs, variant)
    if dynamic_batch:
        open_batch(model)
    _save(model, Path(path), _metadata(arch, variant, subnet.calibration_images, for_timing))
    return Path(path)


def _chosen_variant(variant: GraphVariant | None, like: Measured | None) -> GraphVariant:
    if variant is not None and like is not None:
        raise UserError(f"variant={variant!r} and like both choose the graph variant: leave one out")
    if like is not None:
        return variant_like(like, EXPORTER_VERSION)
    if variant is None:
        LOGGER.warning(
            "the file is written in the graph variant 'direct'; latencies of a table or predictor hold for it only if "
            "theirs is the same: pass like=TABLE, or variant='direct' if none matters"
        )
    return variant or "direct"


def export_for_timing(
    networks: Mapping[str, Sequence[BlockSpec]],
    folder: Path,
    progress: Progress | None = None,
    *,
    variant: GraphVariant = "direct",
) -> dict[str, Path]:
    """Write networks (or single blocks: sequences of one) with random weights, for timing.

    Args:
        networks: BlockSpecs by any name, e.g. a block's key or an arch's id.
        folder: folder of the files `0000.onnx`, `0001.onnx`, …; files of these names are replaced.
        progress: called with (done, total) files after each file.
        variant: operators that the graphs are written in, see `space.graph_variant`.

    Returns:
        The file of each name, in the given order.
    """
    return _write_all(networks, _timing_graphs(networks), variant, folder, progress)


def export_variants(
    networks: Mapping[str, Sequence[BlockSpec]],
    folder: Path,
    progress: Progress | None = None,
    *,
    variants: Sequence[GraphVariant] = GRAPH_VARIANTS,
) -> dict[tuple[GraphVariant, str], Path]:
    """Write each network in several variants, with the same random weights; see `export_for_timing`.

    Returns:
        The files by variant and name: `direct/0000.onnx`, ….
    """
    graphs = _timing_graphs(networks)
    written = {variant: _write_all(networks, graphs, variant, folder / variant, progress) for variant in variants}
    return {(variant, name): path for variant, paths in written.items() for name, path in paths.items()}


def _timing_graphs(networks: Mapping[str, Sequence[BlockSpec]]) -> dict[BlockSpec, BlockGraph]:
    """Return the graphs of all distinct blocks, regardless of image size, with random weights."""
    distinct = list(dict.fromkeys(sizeless(spec) for specs in networks.values() for spec in specs))
    blocks = [folded_copy(random_block(spec)) for spec in distinct]
    return dict(zip(distinct, block_graphs(blocks, distinct), strict=True))


def _write_all(
    networks: Mapping[str, Sequence[BlockSpec]],
    graphs: Mapping[BlockSpec, BlockGraph],
    variant: GraphVariant,
    folder: Path,
    progress: Progress | None = None,
) -> dict[str, Path]:
    paths = {}
    for number, (name, specs) in enumerate(networks.items()):
        paths[name] = folder / f"{number:04d}.onnx"
        model = _network(specs, [graphs[sizeless(spec)] for spec in specs], variant)
        _save(model, paths[name], _metadata(name, variant, calibration_images=0, for_timing=True))
        if progress is not None:
            progress(len(paths), len(networks))
    return paths


def model_metadata(path: Path) -> dict[str, str]:
    """Return the metadata that this exporter wrote into a file, without the prefix `edgenas.`.

    Keys: exporter_version, graph_variant, arch, calibrated, calibration_images, for_timing, and for int8 files those of
    `quantise_each`. Empty for other models.

    Raises:
        UserError: the file is missing or not an ONNX model.
    """
    try:
        model = onnx.load(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    # onnx passes on whatever protobuf raises, which differs between its versions.
    except Exception as error:
        raise UserError(f"{path} is not an ONNX model: {stand_in_cause(path) or error}") from None
    prefix = "edgenas."
    return {p.key.removeprefix(prefix): p.value for p in model.metadata_props if p.key.startswith(prefix)}


def _network(specs: Sequence[BlockSpec], graphs: Sequence[BlockGraph], variant: GraphVariant) -> onnx.ModelProto:
    first, last = specs[0], specs[-1]
    source = Port("pixels" if isinstance(first, StemSpec) else "input", _square(first.in_channels, first.in_size))
    if isinstance(last, HeadSpec):
        target = Port("logits", (1, last.out_channels))
    else:
        target = Port("output", _square(last.out_channels, last.out_size))
    places = [spec.name or f"block{number}" for number, spec in enumerate(specs)]
    padded = map(with_padding, graphs, specs)
    rewritten = [as_variant(graph, spec, variant) for graph, spec in zip(padded, specs, strict=True)]
    return stitch(list(zip(places, rewritten, strict=True)), source, target)


def _square(channels: int, size: int) -> tuple[int, ...]:
    return (1, channels, size, size)


def _metadata(arch: str, variant: GraphVariant, calibration_images: int, for_timing: bool) -> dict[str, str]:
    metadata = {
        "exporter_version": str(EXPORTER_VERSION),
        "graph_variant": variant,
        "arch": arch,
        "calibrated": "true" if calibration_images else "false",
        "calibration_images": str(calibration_images),
    }
    return {**metadata, "for_timing": "true"} if for_timing else metadata


def _save(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    onnx.helper.set_model_props(model, {f"edgenas.{key}": value for key, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    write_bytes(path, model.SerializeToString(deterministic=True))
