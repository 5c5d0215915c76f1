"""The texts of a bundle for people: MODEL_CARD.md in the convention of model hubs (YAML on top), and README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from edgenas.budget import parse_budget
from edgenas.deploy.bundle.manifest import Manifest, deployed_latency
from edgenas.deploy.bundle.shipped_wording import latency_sentences, p50_text
from edgenas.errors import shortened
from edgenas.markup import markdown, markdown_sentence, name_in_sentence
from edgenas.quantities import milliseconds
from edgenas.training.data.preprocess import Preprocess

README = """# {name}

Images to labels with ONNX Runtime. Needs Python 3.9 or newer and `pip install numpy onnxruntime pillow`.

    python run.py model.onnx image.png
    python bench.py model.onnx
    python verify.py

The first prints the classes of an image, the second how long the model takes on this machine, the third whether this
bundle is whole and computes here what it should (neither needs pillow; `verify.py --budget 8ms` holds the latency to a
budget). `MODEL_CARD.md` says what the model is for and how good it is, `manifest.json` says it all to machines.
"""
INT8_README = """
`model_int8.onnx` is the same network in int8, and runs the same way; its accuracy and latency are the manifest's
`int8`.
{notes}
"""
EMBEDDED_README = """
Models take RGB pixels of exactly {size} x {size}, uint8 (1, {size}, {size}, 3), and normalise them inside. Resizing and
cropping stay outside: `run.py` does them. Latencies include what is inside.
"""
OPEN_BATCH_README = """
Models take any number of images at once; accuracies and latencies are those of one at a time.
"""
MEMORY = (
    "Memory: by how much the model made the timer's process grow, and what all of that process took at most, the "
    "runtime and what was timed beside it included."
)
FEW_IMAGES = 30
"""Test images of a class below which its accuracy is rough."""


def readme(manifest: Manifest) -> str:
    """Return the text of the bundle's README.md."""
    parts = [README.format(name=markdown(manifest.name))]
    if manifest.int8:
        notes = [*manifest.int8["notes"], *_meant_for(manifest.deployed)]
        parts.append(INT8_README.format(notes="\n".join(f"- {markdown_sentence(note)}" for note in notes)))
    if manifest.preprocessing_included:
        parts.append(EMBEDDED_README.format(size=manifest.preprocess["size"]))
    if manifest.batch != 1:
        parts.append(OPEN_BATCH_README)
    return "".join(parts)


def _meant_for(deployed: Mapping[str, str]) -> list[str]:
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
        "## How it was found, and what that cost",
        _found(manifest),
        *(["## Licences", "\n".join(f"- {note}" for note in manifest.licences)] if manifest.licences else []),
    ]
    return "\n\n".join(section.strip("\n") for section in sections) + "\n"


def _metadata(manifest: Manifest) -> dict[str, Any]:
    """Return the metadata for model hubs. No licence is stated, because that is the owner's choice."""
    metric = {"type": "accuracy", "name": "test top-1", "value": round(manifest.accuracy["test_top1"], 4)}
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
        f"Gives an image one of {len(manifest.classes)} labels, on {devices}. A convolutional network, "
        f"`{manifest.arch}`, of {manifest.costs['params']:,} parameters and {manifest.costs['macs']:,} "
        f"multiply-accumulates an image, as ONNX; `run.py` prepares images and runs it."
    )


def _accuracy(manifest: Manifest) -> list[str]:
    columns = {"fp32": manifest.accuracy} | ({"int8": manifest.int8["accuracy"]} if manifest.int8 else {})
    rows = [
        [name, *(_percent(scores.get(key)) for scores in columns.values())]
        for name, key in (("test top-1", "test_top1"), ("validation top-1", "validation_top1"))
    ]
    method = (
        f"{manifest.accuracy['test_images']:,} test images, scored once, after the network was chosen on validation "
        "images; computed by ONNX Runtime on the files of this bundle."
    )
    return [method, _table(["", *columns], rows), *_by_class(manifest, columns)]


def _by_class(manifest: Manifest, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    counts = manifest.accuracy.get("test_images_by_class")
    if not counts:
        return []
    scores = [values.get("test_top1_by_class") or [None] * len(counts) for values in columns.values()]
    rows = [
        [name, f"{count:,}", *(_percent(values[index]) for values in scores)]
        for index, (name, count) in enumerate(zip(manifest.classes, counts, strict=True))
    ]
    return ["By class:", _table(["class", "test images", *columns], rows)]


def _latency(manifest: Manifest) -> list[str]:
    rows = []
    for precision, latency in (("fp32", manifest.latency), ("int8", manifest.int8.get("latency", {}))):
        for device, one in latency.items():
            setting = one.get("measured_with", {})
            rows.append(
                [
                    f"{device}, {precision}",
                    p50_text(one),
                    milliseconds(one["p95_us"]),
                    milliseconds(one["predicted_us"]) if "predicted_us" in one else "–",
                    _memory(one),
                    str(one.get("cpu", "–")),
                    f"{setting.get('runtime', '')} {setting.get('runtime_version', '')}, "
                    f"{setting.get('provider', '')}, {setting.get('threads', '?')} thread(s)",
                ]
            )
    if not rows:
        return ["Not measured."]
    inside = "with" if manifest.preprocessing_included else "without"
    unit = f"Milliseconds an image, {inside} normalisation; decoding and resizing are never included."
    columns = ["device", "p50 [interval]", "p95", "predicted", "memory", "processor", "run by"]
    shipped = latency_sentences(deployed_latency(manifest.to_json()))
    lines = "\n".join(f"- {markdown_sentence(line)}." for line in shipped)
    judged = [f"The file for each device, timed in new processes after it was chosen:\n\n{lines}"] if shipped else []
    return [*judged, f"{unit} {MEMORY}", _table(columns, rows)]


def _memory(one: Mapping[str, Any]) -> str:
    grown, whole = (one.get(key) for key in ("model_rss_bytes", "process_rss_bytes"))
    return "–" if grown is None or whole is None else f"{grown / 1e6:.1f} of {whole / 1e6:.0f} MB"


def _data(manifest: Manifest) -> str:
    sizes = ", ".join(f"{split['images']:,} {name}" for name, split in manifest.splits.items())
    preprocess = Preprocess(**manifest.preprocess)
    size = preprocess.size
    source = f"{markdown(manifest.dataset)}: {sizes} images. " if sizes else f"{markdown(manifest.dataset)}. "
    return source + (
        f"Images become {size} x {size} RGB: shorter side resized to {preprocess.shorter}, centre cropped, "
        "normalised. SHA-256 of each split are in `manifest.json`."
    )


def _limits(manifest: Manifest) -> list[str]:
    limits = [
        "It gives one of its labels to any image. On images unlike the training images, its confidence is not the "
        "probability of being right.",
        "Accuracies hold for images like the test images, latencies for the machines and settings named.",
    ]
    counts = manifest.accuracy.get("test_images_by_class") or []
    rough = [
        name_in_sentence(name) for name, count in zip(manifest.classes, counts, strict=False) if count < FEW_IMAGES
    ]
    if rough:
        named = markdown_sentence(shortened(rough, 10))
        limits.append(f"Fewer than {FEW_IMAGES} test images, so that accuracy is rough: {named}.")
    rates = [rate for rate in manifest.accuracy.get("test_top1_by_class") or [] if rate is not None]
    if rates and min(rates) < max(rates):
        worst = manifest.classes[(manifest.accuracy["test_top1_by_class"]).index(min(rates))]
        limits.append(f"Worst of all classes: {markdown(worst)}, {_percent(min(rates))}.")
    return limits


def _found(manifest: Manifest) -> str:
    found = manifest.found
    if not found:
        return "Not recorded."
    budgets = markdown_sentence("; ".join(parse_budget(text).words for text in found["budgets"])) or "none"
    return (
        f"Cut out of a once-for-all supernet of the space `{manifest.space}`, trained for "
        f"{found['train_seconds'] / 60:.1f} minutes. {found['evaluations']} of its subnets were scored by the strategy "
        f"`{found['strategy']}` in {found['search_seconds'] / 60:.1f} minutes, {found['front_networks']} measured on "
        f"the device. Budgets: {budgets}. {_tuning(manifest)} Seed {manifest.seed}; made with "
        f"{', '.join(f'{name} {version}' for name, version in manifest.versions.items())}. {_energy(found)}"
    )


def _tuning(manifest: Manifest) -> str:
    """Describe the fine-tuning, or state that the weights are the supernet's own."""
    tuning = manifest.fine_tuning
    if not tuning:
        return "It was not fine-tuned: its weights are those that it inherited from the supernet."
    images, epochs, supernet = tuning["training_images"], tuning["epochs"], tuning["supernet"]
    dataset = markdown(tuning["dataset"])
    data = dataset if images is None else f"{images:,} images of {dataset}"
    length = f"{tuning['seconds'] / 60:.1f} minutes" if epochs is None else f"{round(epochs, 2):g} epochs"
    fresh = tuning.get("start") == "fresh"
    lead = f"It was then fine-tuned on its own for {length} of {data}, from the weights that it inherited"
    if fresh:
        lead = f"It was then trained on its own for {length} of {data}, from fresh weights"
    after = _percent(tuning["val_top1_after"])
    if tuning["val_top1_before"] is None:
        others = f" trained on {markdown(supernet['dataset'])}" if supernet else ""
        return f"{lead} from the supernet{others}, and with a new classifier: validation top-1 {after}."
    before = "with those it inherited" if fresh else "before"
    return f"{lead}: validation top-1 {_percent(tuning['val_top1_before'])} {before}, {after} after."


def _energy(found: Mapping[str, Any]) -> str:
    joules = [one["energy_joules"] for one in found.get("spent", {}).values()]
    if not joules:
        return "Energy was not measured."
    if None in joules:
        return "Energy was not readable on the machine that searched."
    return (
        f"Until it was exported that took {sum(joules) / 3600:.3g} Wh, all that the processor did meanwhile included."
    )


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.2f} %"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [map(markdown, header), ["---"] * len(header), *(map(markdown, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
