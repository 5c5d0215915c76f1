"""Malformed inputs made by damaging valid ones, repeatably at random."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import damaging
import onnx
import yaml
from damaging import Damage, Place
from malformed_cases import CONFIG, DEVICE, RUN, Case, Edit
from small_run import SMALL_SPACE


def damaged(name: str, how: Damage, seed: int) -> Edit:
    return lambda folder: damaging.damage(folder / name, how, seed)


def swapped(name: str, place: Place, seed: int, line: int | None = None) -> Edit:
    return lambda folder: damaging.change_json(folder / name, place, seed, line)


def fuzzed_yaml() -> Iterator[Case]:
    ways: tuple[Damage, ...] = (damaging.cut, damaging.flipped, damaging.garbled, damaging.zeroed, damaging.utf16)
    commands = {"config.yaml": RUN, "tiny-16.yaml": RUN, "device.yaml": ("devices", "show", "device.yaml")}
    for name, command in commands.items():
        for how in ways:
            # A document that is cut short may be sound, and lack a key instead.
            says = "" if how is damaging.cut else name
            yield Case(f"{name} {how.__name__}", damaged(name, how, 0), command, says)
    yield Case("config.yaml doubled_line", damaged("config.yaml", damaging.doubled_line, 0), RUN, "occurs twice")
    for name, value in (("config.yaml", CONFIG), ("tiny-16.yaml", SMALL_SPACE), ("device.yaml", DEVICE)):
        places = all_places(yaml.safe_load(value))
        for place in random.Random(name).sample(places, min(6, len(places))):
            key = str(place[0])
            edit = functools.partial(change_yaml, name=name, place=place)
            label = f"{name} {'.'.join(map(str, place))}"
            yield Case(label, edit, commands[name], key)


def all_places(value: Any, prefix: Place = ()) -> list[Place]:
    """Where everything stands in nested lists and mappings."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in [(*prefix, key), *all_places(part, (*prefix, key))]]


def change_yaml(folder: Path, name: str, place: Place) -> None:
    """Something hostile at a place. JSON is YAML, and can be written whatever it holds."""
    value = yaml.safe_load((folder / name).read_text())
    holder = damaging.at(value, place[:-1])
    rng = random.Random(f"{name} {place}")
    new = damaging.hostile(holder[place[-1]], rng)
    # Half a character and an endless number are refused with line and column, before anybody knows of keys.
    early = new == "\ud800" or (isinstance(new, int) and abs(new) > 10**20)
    holder[place[-1]] = [] if early else new
    (folder / name).write_text(json.dumps(value).replace("NaN", ".nan").replace("Infinity", ".inf"))


def fuzzed_tables() -> Iterator[Case]:
    show = ("tables", "show", "table")
    for how in (damaging.cut, damaging.emptied, damaging.flipped, damaging.garbled, damaging.zeroed):
        for name in ("table.csv", "meta.json"):
            yield Case(f"{name} {how.__name__}", damaged(f"table/{name}", how, 0), show, name)
    for seed in range(6):
        yield Case(f"table cell {seed}", functools.partial(change_cell, seed=seed), show, "table.csv, line")
    for key in ("device", "provider", "optimisation_level"):
        edit = swapped("table/meta.json", ("identity", key), 0)
        yield Case(f"meta.json identity.{key}", edit, show, "meta.json")


def change_cell(folder: Path, seed: int) -> None:
    path, rng = folder / "table" / "table.csv", random.Random(seed)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    column = rng.choice(["kind", "p50_us", "p95_us", "mean_us", "ci_low_us", "count", "rounds", "repeat_noise"])
    rng.choice(lines[1:])[lines[0].index(column)] = rng.choice(["", "nan", "inf", "-1", "1e999", "x", "9" * 5000, "\0"])
    path.write_text("\n".join(map(",".join, lines)) + "\n")


PLACES: dict[str, tuple[str, tuple[Place, ...]]] = {
    "latency/result.json": ("profile", (("schema_version",), ("predictors", "here"))),
    "latency/here/score.json": ("done", (("mape",), ("held_out", 0))),
    "latency/here/predictor.json": (
        "search",
        (
            *(("space",), ("layout",), ("blocks", "measured_us"), ("blocks", "regressions", "ir", "points", 0)),
            *(("blocks", "regressions", "ir", "offset"), ("calibration", "weights"), ("calibration", "residuals", 0)),
        ),
    ),
    "supernet/result.json": ("done", (("params",), ("train_seconds",))),
    "supernet/fixed_settings.json": ("train", (("steps",), ("circumstances",))),
    "search/result.json": ("verify", (("strategy",), ("budgets", 0), ("front", 0, "arch"), ("front", 0, "val_top1"))),
    "verify/result.json": (
        "export",
        (("front",), ("front", 0, "dropped"), ("front", 0, "latency", "here", "p50_us"), ("chosen",), ("model",)),
    ),
    "export/result.json": ("done", (("chosen", "arch"), ("chosen", "test_top1"), ("chosen", "onnx"))),
    "data.json": ("done", (("classes", 0), ("counts", "train"), ("digest",))),
}
"""Files of a run, the stage that has to be done to have them read, and what is changed in them."""


def reading(stage: str) -> tuple[str, ...]:
    return ("report", "run") if stage == "done" else (stage, "run")


def fuzzed_results() -> Iterator[Case]:
    for name, (stage, places) in PLACES.items():
        # A finished profile is read by the stages behind it.
        first = "search" if stage == "profile" else stage
        yield Case(f"{name} cut", damaged(f"run/{name}", damaging.cut, 0), reading(first), name, stage=first)
        for place in places:
            label, edit = f"{name} {'.'.join(map(str, place))}", swapped(f"run/{name}", place, 0)
            yield Case(label, edit, reading(first), name, stage=first)


def fuzzed_rows() -> Iterator[Case]:
    evaluations = "run/search/evaluations.jsonl"
    for key in ("arch", "latency_us"):
        edit = swapped(evaluations, (key,), 0, 0)
        says = f"evaluations.jsonl, row 1: {key}"
        yield Case(f"evaluations.jsonl {key}", edit, ("search", "run"), says, stage="search")
    for place in (("process",), ("timed", "latency_ms")):
        edit = swapped("run/latency/here/rows.jsonl", place, 0, 3)
        label = f"rows.jsonl {'.'.join(place)}"
        yield Case(label, edit, ("profile", "run"), "rows.jsonl, row 4", stage="profile")
    edit = swapped("run/supernet/training.jsonl", ("loss",), 0, 0)
    yield Case("training.jsonl loss", edit, ("report", "run"), "training.jsonl, row 1: loss", stage="done")
    for how in (damaging.cut, damaging.emptied, damaging.garbled):
        edit = damaged("run/supernet/checkpoint.safetensors", how, 0)
        label = f"checkpoint {how.__name__}"
        yield Case(label, edit, ("search", "run"), "checkpoint.safetensors", stage="search")
        edit = damaged("run/export/bundle/manifest.json", how, 0)
        label = f"manifest {how.__name__}"
        yield Case(label, edit, ("export", "run"), "export/bundle", stage="export")


def fuzzed_models() -> Iterator[Case]:
    model = "run/export/bundle/model.onnx"
    for how in (damaging.cut, damaging.emptied):
        yield Case(f"model {how.__name__}", damaged(model, how, 0), ("inspect", model), "model.onnx", stage="done")
    int8 = ("export", "run", "--precision", "int8")
    for how in (damaging.cut, damaging.emptied, with_other_weights):
        edit = functools.partial(each_model, how=how)
        # Other weights in a sound file are no mistake of the user's: the gate refuses them.
        code, says = (1, "is not the network that was scored") if how is with_other_weights else (2, "verify/models/")
        yield Case(f"measured model {how.__name__}", edit, int8, says, code, stage="done")


def with_other_weights(data: bytes, rng: random.Random) -> bytes:
    """A sound file, the weights of its largest tensor each in its neighbour's place."""
    model = onnx.load_from_string(data)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest.raw_data = largest.raw_data[4:] + largest.raw_data[:4]
    whole: bytes = model.SerializeToString()
    return whole


def each_model(folder: Path, how: Damage) -> None:
    for path in (folder / "run" / "verify" / "models").iterdir():
        damaging.damage(path, how, 0)


CASES = [case for maker in (fuzzed_yaml, fuzzed_tables, fuzzed_results, fuzzed_rows, fuzzed_models) for case in maker()]
