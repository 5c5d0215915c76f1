"""The one exporter: blocks and networks for timing, and the final model, in the same form.

Everything is exported block by block, many blocks in one call of `torch.onnx.export` (most of a call's cost
is fixed), and stitched: what a network's blocks are timed as is what the network is made of.
"""

from __future__ import annotations

import copy
import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgenas.deploy.form import in_form
from edgenas.deploy.onnx_graph import OPSET, BlockGraph, Port, cut, open_batch, stitch
from edgenas.errors import UserError
from edgenas.files import write_bytes
from edgenas.space.blocks import BlockSpec, HeadSpec, StemSpec
from edgenas.space.form import EXPORT_FORMS, ExportForm
from edgenas.supernet.subnet import ConvNorm, Subnet, build_block

EXPORTER_VERSION = 1
"""Part of every latency table's identity: raised whenever the exported form changes."""
BLOCKS_PER_EXPORT = 40
GRAPH_SIZE = 16
"""Picture size that blocks for timing are traced at; their graphs are the same at any other."""

Progress = Callable[[int, int], None]


def export_onnx(
    subnet: Subnet,
    path: str | Path,
    *,
    form: ExportForm = "direct",
    for_timing: bool = False,
    dynamic_batch: bool = False,
) -> Path:
    """Write a subnet as one ONNX file: batch norm folded, static shapes, batch 1, fp32.

    Input `pixels` (1, 3, resolution, resolution), preprocessed; output `logits` (1, classes). Names of nodes
    and weights begin with stage and block. The subnet is left as it was.

    Args:
        subnet: what to export.
        path: of the file; an old one is replaced.
        form: which operators it is written in, see `space.form`.
        for_timing: allow an uncalibrated subnet. The file says so, and no bundle takes it.
        dynamic_batch: leave the first dimension of input and output open.

    Raises:
        UncalibratedError: the subnet was not calibrated, and `for_timing` is false.
    """
    if not for_timing:
        subnet.require_calibrated("export")
    blocks = [_deployed(block) for block in subnet.blocks.values()]
    graphs = _export_blocks(blocks, subnet.specs)
    arch = subnet.arch.id if subnet.arch else ""
    model = _network(subnet.specs, graphs, form)
    if dynamic_batch:
        open_batch(model)
    _save(model, Path(path), _metadata(arch, form, subnet.calibration_images, for_timing))
    return Path(path)


def export_for_timing(
    networks: Mapping[str, Sequence[BlockSpec]],
    folder: Path,
    progress: Progress | None = None,
    *,
    form: ExportForm = "direct",
) -> dict[str, Path]:
    """Write networks (or single blocks: sequences of one) with random weights, to be timed.

    Args:
        networks: BlockSpecs by any name, e.g. a block's key or an arch's id.
        folder: where files `0000.onnx`, `0001.onnx`, … go; files of these names are replaced.
        progress: called with (done, total) distinct blocks after each call of torch's exporter.
        form: which operators they are written in, see `space.form`.

    Returns:
        The file of each name, in the order given.
    """
    return _write_all(networks, _timing_graphs(networks, progress), form, folder)


def export_forms(
    networks: Mapping[str, Sequence[BlockSpec]],
    folder: Path,
    progress: Progress | None = None,
    *,
    forms: Sequence[ExportForm] = EXPORT_FORMS,
) -> dict[tuple[ExportForm, str], Path]:
    """Write each network in several forms, of the same random weights; see `export_for_timing`.

    Returns:
        The files by form and name: `direct/0000.onnx`, ….
    """
    graphs = _timing_graphs(networks, progress)
    written = {form: _write_all(networks, graphs, form, folder / form) for form in forms}
    return {(form, name): path for form, paths in written.items() for name, path in paths.items()}


def _timing_graphs(
    networks: Mapping[str, Sequence[BlockSpec]], progress: Progress | None
) -> dict[BlockSpec, BlockGraph]:
    """Graphs of all distinct blocks, regardless of picture size."""
    distinct = list(dict.fromkeys(_sizeless(spec) for specs in networks.values() for spec in specs))
    graphs: dict[BlockSpec, BlockGraph] = {}
    for start in range(0, len(distinct), BLOCKS_PER_EXPORT):
        chunk = distinct[start : start + BLOCKS_PER_EXPORT]
        blocks = [_deployed(_random_block(spec)) for spec in chunk]
        graphs |= zip(chunk, _export_blocks(blocks, chunk), strict=True)
        if progress is not None:
            progress(len(graphs), len(distinct))
    return graphs


def _write_all(
    networks: Mapping[str, Sequence[BlockSpec]], graphs: Mapping[BlockSpec, BlockGraph], form: ExportForm, folder: Path
) -> dict[str, Path]:
    paths = {}
    for number, (name, specs) in enumerate(networks.items()):
        paths[name] = folder / f"{number:04d}.onnx"
        model = _network(specs, [graphs[_sizeless(spec)] for spec in specs], form)
        _save(model, paths[name], _metadata(name, form, calibration_images=0, for_timing=True))
    return paths


def model_metadata(path: Path) -> dict[str, str]:
    """What our exporter wrote into a file about itself, `edgenas.` left off.

    Keys: exporter_version, form, arch, calibrated, calibration_images, for_timing; of int8 files those that
    `quantise_each` adds, too. Empty for models of others.

    Raises:
        UserError: the file is missing or no ONNX model.
    """
    try:
        model = onnx.load(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    # onnx passes on whatever protobuf raises, which differs between its versions.
    except Exception as error:
        raise UserError(f"{path} is no ONNX model: {error}") from None
    prefix = "edgenas."
    return {p.key.removeprefix(prefix): p.value for p in model.metadata_props if p.key.startswith(prefix)}


class _SideBySide(nn.Module):
    """Many blocks, each with an input of its own."""

    def __init__(self, blocks: Sequence[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(block(x) for block, x in zip(self.blocks, inputs, strict=True))


def _export_blocks(blocks: Sequence[nn.Module], specs: Sequence[BlockSpec]) -> list[BlockGraph]:
    ports = [(f"input_{number}", f"output_{number}") for number in range(len(blocks))]
    program = torch.onnx.export(
        _SideBySide(blocks).eval(),
        tuple(torch.zeros(1, spec.in_channels, spec.in_size, spec.in_size) for spec in specs),
        input_names=[source for source, _ in ports],
        output_names=[target for _, target in ports],
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    return cut(program.model_proto.graph, ports)


def _deployed(block: nn.Module) -> nn.Module:
    """A copy on the CPU with batch norm folded into the convolutions."""
    block = copy.deepcopy(block).cpu().float().eval().requires_grad_(False)
    # In channels-last memory, which subnets are trained in, torch traces pooling into a Reshape and a Gather more.
    block = block.to(memory_format=torch.contiguous_format)
    for module in list(block.modules()):
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
    return block


def _random_block(spec: BlockSpec) -> nn.Module:
    """Seeded weights and statistics such as training leaves.

    Fresh statistics would fold into biases of 0, which the exporter removes, and let signals fade with depth
    towards denormal numbers, which are slow.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(zlib.crc32(_sizeless(spec).key.encode()))
        block = build_block(spec)
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias, std=0.5)
    return block


def _sizeless(spec: BlockSpec) -> BlockSpec:
    """The same for blocks that differ in picture size alone: their graphs are equal."""
    return dataclasses.replace(spec, in_size=GRAPH_SIZE, name="")


def _network(specs: Sequence[BlockSpec], graphs: Sequence[BlockGraph], form: ExportForm) -> onnx.ModelProto:
    first, last = specs[0], specs[-1]
    source = Port("pixels" if isinstance(first, StemSpec) else "input", _square(first.in_channels, first.in_size))
    if isinstance(last, HeadSpec):
        target = Port("logits", (1, last.out_channels))
    else:
        target = Port("output", _square(last.out_channels, last.out_size))
    places = [spec.name or f"block{number}" for number, spec in enumerate(specs)]
    formed = [in_form(graph, spec, form) for graph, spec in zip(graphs, specs, strict=True)]
    return stitch(list(zip(places, formed, strict=True)), source, target)


def _square(channels: int, size: int) -> tuple[int, ...]:
    return (1, channels, size, size)


def _metadata(arch: str, form: ExportForm, calibration_images: int, for_timing: bool) -> dict[str, str]:
    metadata = {
        "exporter_version": str(EXPORTER_VERSION),
        "form": form,
        "arch": arch,
        "calibrated": "true" if calibration_images else "false",
        "calibration_images": str(calibration_images),
    }
    return {**metadata, "for_timing": "true"} if for_timing else metadata


def _save(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    onnx.helper.set_model_props(model, {f"edgenas.{key}": value for key, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    write_bytes(path, model.SerializeToString(deterministic=True))
