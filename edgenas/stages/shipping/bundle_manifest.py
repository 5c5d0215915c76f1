"""A bundle's manifest, gathered from the run, the parity checks and the measurements."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from edgenas.deploy.bundle.bundle import INT8_MODEL, MODEL
from edgenas.deploy.bundle.manifest import Int8Facts, Manifest, library_versions
from edgenas.files import shipped
from edgenas.latency.device import Device
from edgenas.records.bundle import FileLatency, SearchFacts, SplitFacts
from edgenas.records.init import InitRecord
from edgenas.space.cost import cost, int8_weight_bytes
from edgenas.stages.devices.device_latencies import DeviceLatencies
from edgenas.stages.devices.int8_export import Comparison
from edgenas.stages.shipping.bundle_files import Int8Export, Prepared
from edgenas.stages.shipping.bundle_latency import file_latency, int8_latency
from edgenas.stages.shipping.bundle_network import file_accuracy, validation_top1
from edgenas.stages.weights.qat_finetuning import qat_sentence
from edgenas.training.data.dataset import Dataset


def make_manifest(prepared: Prepared, latencies: DeviceLatencies, found: SearchFacts) -> Manifest:
    """Return the manifest of a network's files; this scores the test images.

    Args:
        prepared: the files.
        latencies: tables and predictors of the run.
        found: how the network was found.
    """
    network, fp32, int8 = prepared.network, prepared.fp32, prepared.int8
    config, dataset, devices = network.config, network.images.dataset, network.devices.measured
    assert network.subnet.calibration_images is not None
    return Manifest(
        name=config.name,
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        arch=network.arch,
        space=network.space.structure_id,
        dataset=dataset.name,
        classes=dataset.classes,
        preprocess=network.preprocess,
        # The test split is looked at here for the first time, and only with the network already chosen.
        accuracy=file_accuracy(network, fp32, validation_top1(network, fp32)),
        latency={name: _fp32_latency(prepared, name, latencies) for name in prepared.timed},
        costs=cost(network.space.unroll(network.arch), network.variant).to_json(),
        calibration_images=network.subnet.calibration_images,
        parity=prepared.parity,
        versions=library_versions(),
        seed=config.seed,
        graph_variant=network.variant,
        batch="dynamic" if network.options.dynamic_batch else 1,
        preprocessing_included=network.options.embed_preprocessing,
        size_bytes=fp32.stat().st_size,
        int8=_int8_facts(prepared, int8, latencies) if int8 else None,
        deployed={
            name: INT8_MODEL if int8 and device.run.precision == "int8" else MODEL for name, device in devices.items()
        },
        devices={name: bundled_device(device) for name, device in devices.items()},
        splits=_splits(dataset),
        found=found,
        fine_tuning=network.fine_tuning,
        init=network.init,
        halving=network.halving,
        licences=(*_weights_licence(network.init), *_table_licence(config.profile.base)),
        verdict=prepared.verdict,
    )


def bundled_device(device: Device) -> Device:
    """Return a device as a manifest describes it, without the places of a browser on the machine that measured."""
    run = device.run.model_copy(update={"chromium": None, "onnxruntime_web": None})
    return device.model_copy(update={"run": run})


def _fp32_latency(prepared: Prepared, device: str, latencies: DeviceLatencies) -> FileLatency:
    deployed = prepared.network.deployed_precision(device) == "fp32"
    judged, measured = prepared.judged[device] if deployed else None, prepared.timed[device].measured["fp32"]
    return file_latency(prepared.network, device, measured, judged, latencies)


def _int8_facts(prepared: Prepared, int8: Int8Export, latencies: DeviceLatencies) -> Int8Facts:
    network, recipe, compared, latency = prepared.network, int8.choice.recipe, [], {}
    for device, session in prepared.timed.items():
        judged = prepared.judged[device] if network.deployed_precision(device) == "int8" else None
        stated = file_latency(network, device, session.measured["int8"], judged, latencies, recipe)
        comparison = Comparison(device, session.measured["fp32"], session.measured["int8"])
        compared.append(str(comparison))
        latency[device] = int8_latency(stated, comparison)
    return Int8Facts(
        quantiser_recipe=recipe.id,
        recipes_tried={tried.id: top1 for tried, top1 in int8.choice.top1.items()},
        quantiser_images=network.config.export.calibration_images,
        accuracy=file_accuracy(network, int8.path, int8.parity.val_top1),
        latency=latency,
        parity=int8.parity,
        size_bytes=int8.path.stat().st_size,
        costs={"weight_bytes": int8_weight_bytes(network.space.unroll(network.arch))},
        fine_tuning=int8.tuning,
        notes=(*([qat_sentence(int8.tuning)] if int8.tuning else []), *compared),
    )


def _splits(dataset: Dataset) -> dict[str, SplitFacts]:
    splits = {}
    for name, split in dataset.splits.items():
        digest = hashlib.sha256()
        split.update(digest)
        splits[name] = SplitFacts(images=len(split), sha256=digest.hexdigest())
    return splits


def _weights_licence(init: InitRecord | None) -> tuple[str, ...]:
    """Return the licence of the pretrained weights, where training started from such."""
    if init is None or init.network is None:
        return ()
    facts = init.network
    return (f"Training started from the weights of {facts.name} ({facts.origin}): {facts.licence or 'not stated'}",)


def _table_licence(base: str | None) -> tuple[str, ...]:
    """Return the licence of the shipped table that predictors were carried over from, where others measured it."""
    if base is None or not (shipped("latency_tables") / base / "table.csv").exists():
        return ()
    licence = shipped("latency_tables") / Path(base).parts[0] / "LICENSE"
    if not licence.exists():
        return ()
    text = licence.read_text(encoding="utf-8").strip()
    return (f"Predictions rest on the latency table {base}: {' '.join(text.split())}",)
