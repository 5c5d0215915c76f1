"""README.md and MODEL_CARD.md of a bundle. The model card has YAML metadata on top, as on model hubs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import yaml

from edgenas.deploy.bundle.manifest import Manifest
from edgenas.deploy.bundle.shipped_wording import gain_words, latency_sentences, p50_text
from edgenas.errors import shortened
from edgenas.markup import markdown, markdown_sentence, name_in_sentence
from edgenas.quantities import milliseconds
from edgenas.records.bundle import FileAccuracy, FileLatency, SearchFacts
from edgenas.records.finetune import HalvingSummary
from edgenas.records.init import InitRecord
from edgenas.space.arch import Arch

README = """# {name}

An image classifier for ONNX Runtime. It needs Python 3.9 or newer and `pip install numpy onnxruntime pillow`.

    python run.py model.onnx image.png
    python bench.py model.onnx
    python verify.py

- `run.py` prints the classes of an image.
- `bench.py` prints the latency of the model on this machine. It does not need pillow.
- `verify.py` checks that this bundle is complete and that its models give the expected outputs on this machine.
  `verify.py --budget 8ms` also checks the latency against a budget. It does not need pillow.

`MODEL_CARD.md` describes the purpose, the accuracy and the latency of the model. `manifest.json` has all of this in
machine-readable form.
"""
INT8_README = """
`model_int8.onnx` is the same network in int8 and runs in the same way. Its accuracy and latency are in `manifest.json`
under `int8`.
{notes}
"""
EMBEDDED_README = """
Models take RGB pixels of exactly {size} x {size}, uint8 of shape (1, {size}, {size}, 3), and normalise them. Latencies
include the normalisation. `run.py` resizes and crops images before.
"""
OPEN_BATCH_README = """
Models take any number of images at once. Accuracies and latencies are for one image at a time.
"""
MEMORY = (
    "Memory is the growth of the timer's process by the model, and the peak of that process, which includes the "
    "runtime and all other timed models."
)
FEW_IMAGES = 30
"""Number of test images of a class below which its accuracy is called rough."""


def readme(manifest: Manifest) -> str:
    """Return the text of the bundle's README.md."""
    parts = [README.format(name=markdown(manifest.name))]
    if manifest.int8:
        notes = [*manifest.int8.notes, *_deployed_files(manifest.deployed)]
        parts.append(INT8_README.format(notes="\n".join(f"- {markdown_sentence(note)}" for note in notes)))
    if manifest.preprocessing_included:
        parts.append(EMBEDDED_README.format(size=manifest.preprocess.size))
    if manifest.batch != 1:
        parts.append(OPEN_BATCH_README)
    return "".join(parts)


def _deployed_files(deployed: Mapping[str, str]) -> list[str]:
    return [f"the file for {device}: `{model}`" for device, model in deployed.items()]


def model_card(manifest: Manifest) -> str:
    """Return the text of the bundle's MODEL_CARD.md: purpose, accuracy, latency, data, limits and search."""
    sections = [
        f"---\n{yaml.safe_dump(_metadata(manifest), sort_keys=False, allow_unicode=True)}---",
        f"# {markdown(manifest.name)}",
        _purpose(manifest),
        "## Accuracy",
        *_accuracy(manifest),
        "## Latency",
        *_latency(manifest),
        "## Data",
        _data(manifest),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(manifest)),
        "## Search and training",
        _search(manifest),
        *(["## Licences", "\n".join(f"- {note}" for note in manifest.licences)] if manifest.licences else []),
    ]
    return "\n\n".join(section.strip("\n") for section in sections) + "\n"


def _metadata(manifest: Manifest) -> dict[str, Any]:
    """Return the metadata for model hubs, without a licence, which the owner must choose."""
    metric = {"type": "accuracy", "name": "test top-1", "value": round(manifest.accuracy.test_top1, 4)}
    data = {"name": manifest.dataset, "type": manifest.dataset, "split": "test"}
    result = {"task": {"type": "image-classification"}, "dataset": data, "metrics": [metric]}
    return {
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["onnx", "onnxruntime", "edge", "neural-architecture-search", "edgenas"],
        "datasets": [manifest.dataset],
        "metrics": ["accuracy"],
        "model-index": [{"name": manifest.name, "results": [result]}],
    }


def _purpose(manifest: Manifest) -> str:
    devices = ", ".join(map(markdown, manifest.latency)) or "any device"
    return (
        f"This model classifies images into {len(manifest.classes)} classes on {devices}. It is a convolutional "
        f"network in ONNX, `{manifest.arch.id}`, with {manifest.costs['params']:,} parameters and "
        f"{manifest.costs['macs']:,} multiply-accumulates per image. `run.py` preprocesses images and runs the model."
    )


def _accuracy(manifest: Manifest) -> list[str]:
    columns = {"fp32": manifest.accuracy} | ({"int8": manifest.int8.accuracy} if manifest.int8 else {})
    rows = [
        ["test top-1", *(_percent(accuracy.test_top1) for accuracy in columns.values())],
        ["validation top-1", *(_percent(accuracy.validation_top1) for accuracy in columns.values())],
    ]
    method = (
        "Accuracies are computed by ONNX Runtime on the files of this bundle. The network was chosen on validation "
        f"images and then scored once on {manifest.accuracy.test_images:,} test images."
    )
    return [method, _table(["", *columns], rows), *_by_class(manifest, columns)]


def _by_class(manifest: Manifest, columns: Mapping[str, FileAccuracy]) -> list[str]:
    counts = manifest.accuracy.test_images_by_class
    scores = [accuracy.test_top1_by_class for accuracy in columns.values()]
    rows = [
        [name, f"{count:,}", *(_percent(values[index]) for values in scores)]
        for index, (name, count) in enumerate(zip(manifest.classes, counts, strict=True))
    ]
    return ["Accuracy by class:", _table(["class", "test images", *columns], rows)]


def _latency(manifest: Manifest) -> list[str]:
    rows = [_latency_row(f"{device}, fp32", latency) for device, latency in manifest.latency.items()]
    if manifest.int8:
        rows += [_latency_row(f"{device}, int8", latency) for device, latency in manifest.int8.latency.items()]
    if not rows:
        return ["The latency was not measured."]
    included = "with" if manifest.preprocessing_included else "without"
    unit = f"Latencies are in milliseconds per image {included} normalisation, and without decoding and resizing."
    columns = ["device", "p50 [interval]", "p95", "predicted", "memory", "CPU", "runtime"]
    shipped = latency_sentences(manifest.deployed_latency)
    lines = "\n".join(f"- {markdown_sentence(line)}." for line in shipped)
    judged = [f"Each device's file was timed again in new processes after the choice:\n\n{lines}"] if shipped else []
    return [*judged, f"{unit} {MEMORY}", _table(columns, rows)]


def _latency_row(name: str, latency: FileLatency) -> list[str]:
    setting = latency.measured_with
    return [
        name,
        p50_text(latency.p50_us, latency.ci_low_us, latency.ci_high_us),
        milliseconds(latency.p95_us),
        "–" if latency.predicted_us is None else milliseconds(latency.predicted_us),
        _memory(latency),
        latency.cpu or "–",
        f"{setting.runtime} {setting.runtime_version}, {setting.provider}, {setting.threads} thread(s)",
    ]


def _memory(latency: FileLatency) -> str:
    growth, peak = latency.model_rss_bytes, latency.process_rss_bytes
    return "–" if growth is None or peak is None else f"{growth / 1e6:.1f} of {peak / 1e6:.0f} MB"


def _data(manifest: Manifest) -> str:
    sizes = ", ".join(f"{split.images:,} {name}" for name, split in manifest.splits.items())
    preprocess, size = manifest.preprocess, manifest.preprocess.size
    source = f"{markdown(manifest.dataset)}: {sizes} images. " if sizes else f"{markdown(manifest.dataset)}. "
    return source + (
        f"Images are resized to a shorter side of {preprocess.shorter}, cropped at the centre to {size} x {size} RGB, "
        "and normalised. The SHA-256 of each split is in `manifest.json`."
    )


def _limits(manifest: Manifest) -> list[str]:
    limits = [
        "The model assigns a class to any image. For images unlike the training images, its confidence is not the "
        "probability of a correct class.",
        "Accuracies hold for images like the test images, and latencies for the listed machines and settings.",
    ]
    accuracy = manifest.accuracy
    rough = [
        name_in_sentence(name)
        for name, count in zip(manifest.classes, accuracy.test_images_by_class, strict=True)
        if count < FEW_IMAGES
    ]
    if rough:
        names = markdown_sentence(shortened(rough, 10))
        limits.append(f"Classes with rough accuracy because of fewer than {FEW_IMAGES} test images: {names}.")
    rates = [rate for rate in accuracy.test_top1_by_class if rate is not None]
    if rates and min(rates) < max(rates):
        worst = manifest.classes[accuracy.test_top1_by_class.index(min(rates))]
        limits.append(f"Class with the lowest accuracy: {markdown(worst)}, {_percent(min(rates))}.")
        limits.append(f"Mean accuracy of the classes (macro accuracy): {_percent(fmean(rates))}.")
    return limits


def _search(manifest: Manifest) -> str:
    search = manifest.found
    if search is None:
        return "The search was not recorded."
    budgets = markdown_sentence("; ".join(budget.words for budget in search.budgets)) or "none"
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return (
        f"{_origin(manifest, search)}"
        f"The strategy `{search.strategy}` scored "
        f"{search.evaluations} subnets in {search.search_seconds / 60:.1f} minutes, and "
        f"{search.front_networks} were measured on the device. Budgets: {budgets}. {_tuning(manifest)} "
        f"{_halving(manifest.halving, manifest.arch)}"
        f"Seed: {manifest.seed}. Versions: {versions}. {_energy(search)}"
    )


def _origin(manifest: Manifest, search: SearchFacts) -> str:
    """Return sentences on the space of the network and on the weights that its training started from."""
    supernet = f"{search.train_seconds / 60:.1f} minutes"
    if manifest.arch.network:
        return (
            f"The network is {markdown(manifest.arch.network)} as it was published, at another resolution and with a "
            f"new classifier (space `{manifest.space}`). {_initial_weights(manifest.init)}It was a candidate beside "
            f"subnets of a once-for-all supernet, which was trained for {supernet}. "
        )
    return (
        f"The network is a subnet of a once-for-all supernet of the space `{manifest.space}`, which was trained for "
        f"{supernet}. {_initial_weights(manifest.init)}"
    )


def _initial_weights(init: InitRecord | None) -> str:
    """Return a sentence on the weights that training started from; empty where `train.init` names no network."""
    if init is None:
        return ""
    digest = "" if init.network is None else f", SHA-256 `{init.network.sha256}`"
    return f"Training started from {markdown_sentence(init.words)}{digest}. "


def _tuning(manifest: Manifest) -> str:
    """Return sentences on the fine-tuning, or that the weights are inherited from the supernet."""
    tuning = manifest.fine_tuning
    if tuning is None:
        return "The network was not fine-tuned. Its weights are inherited from the supernet."
    data = f"{tuning.training_images:,} images of {markdown(tuning.dataset)}"
    length = f"{round(tuning.epochs, 2):g} epochs"
    before, after = tuning.val_top1_before, _percent(tuning.val_top1_after)
    if manifest.arch.network:
        return f"It was fine-tuned as a whole for {length} on {data}. The validation top-1 is {after}."
    if tuning.start == "fresh":
        compared = "" if before is None else f"was {_percent(before)} with inherited weights and "
        return f"It was then trained from scratch for {length} on {data}. The validation top-1 {compared}is {after}."
    lead = f"It was then fine-tuned for {length} on {data}, starting from its inherited weights"
    if before is None:
        reason = f"because the supernet was trained on {markdown(tuning.supernet.dataset)}"
        return f"{lead} and a new classifier, {reason}. The validation top-1 is {after}."
    return f"{lead}. The validation top-1 was {_percent(before)} before and is {after} after."


def _halving(halving: HalvingSummary | None, shipped: Arch) -> str:
    """Return sentences on the networks that were fine-tuned beside it; empty where it was fine-tuned alone."""
    if halving is None or len(halving.candidates) == 1:
        return ""
    shelf = f", {halving.shelf_networks} of them pretrained ones from the shelf" if halving.shelf_networks else ""
    lead = (
        f"It was chosen among {len(halving.candidates)} networks{shelf}, which were fine-tuned by successive halving. "
    )
    return lead if halving.gain is None else f"{lead}{markdown_sentence(gain_words(halving.gain, shipped))}. "


def _energy(search: SearchFacts) -> str:
    if not search.spent:
        return "Energy was not measured."
    joules = [cost.energy_joules for cost in search.spent.values() if cost.energy_joules is not None]
    if len(joules) < len(search.spent):
        return "Energy was not readable on the machine that searched."
    return f"The CPU used {sum(joules) / 3600:.3g} Wh until the export, which includes other programs."


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.2f} %"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [map(markdown, header), ["---"] * len(header), *(map(markdown, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
