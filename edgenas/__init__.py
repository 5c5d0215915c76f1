"""edgenas: from images, a device and a latency budget to an ONNX model measured to meet the budget.

The map, top to bottom; imports go down only:

    cli          commands, one file a group; exits: how they end; display: progress and tables on a terminal
    testing      FakeTransport and the checks of search strategies, for tests
    studies      questions about finished runs: ranking, baselines, strategies
    gate         checks a bundle before it is deployed
    stages       the stages of a run: profile, train, search, verify, finetune, export, report
    report       an HTML page, Markdown and figures, from saved files
    runs         the run folder: lock, costs, data, devices
    accuracy     the supernet's accuracies, published ones and imported predictors
    search       search strategies over integer genes, objectives, the front
    profiling    measuring devices: what to time, sessions, rows; transports
    deploy       ONNX export and parity, int8, the bundle, inspection
    training     the supernet's training, materialise (recalibrated subnets for scoring), fine-tuning; data
    supernet     one network with the weights of all subnets
    latency      devices, tables, the predictor
    statistics   rank correlation, significance, comparisons
    config       frozen, validated configs
    records      one frozen type for every file of a run folder
    objective    quantities that a search minimises; budget: limits on them
    quantities   the table of everything that can be an objective or a budget
    space        architectures, spaces, block kinds, costs
    files        atomic writes, schema versions; plain_yaml: YAML read strictly
    environment  variables and import paths of this process and its children
    errors       the exception tree

Public names are imported when first used: `import edgenas` loads no torch, pymoo or onnxruntime.
"""

from __future__ import annotations

import importlib

from edgenas.environment import disable_telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Not even `typing` is imported before the working folder is off the path (see __main__).
    from typing import Any

    from edgenas.budget import Budget, parse_budget
    from edgenas.config.reading import load_config
    from edgenas.config.run_config import RunConfig
    from edgenas.deploy.onnx.exporter import export_onnx
    from edgenas.latency.device import Device, load_device
    from edgenas.latency.predictor import LatencyPredictor
    from edgenas.latency.table import LatencyTable
    from edgenas.space.arch import Arch
    from edgenas.space.cost import Cost, cost
    from edgenas.space.loading import load_space
    from edgenas.space.space import SearchSpace
    from edgenas.supernet.ofa import import_ofa_checkpoint
    from edgenas.supernet.pretrained.networks import space_from
    from edgenas.supernet.subnet import Subnet
    from edgenas.supernet.supernet import SuperNet
    from edgenas.training.data.preprocess import Preprocess
    from edgenas.training.materialise import materialise

_HOMES = {
    "Arch": "edgenas.space.arch",
    "Budget": "edgenas.budget",
    "Cost": "edgenas.space.cost",
    "Device": "edgenas.latency.device",
    "LatencyPredictor": "edgenas.latency.predictor",
    "LatencyTable": "edgenas.latency.table",
    "Preprocess": "edgenas.training.data.preprocess",
    "RunConfig": "edgenas.config.run_config",
    "SearchSpace": "edgenas.space.space",
    "Subnet": "edgenas.supernet.subnet",
    "SuperNet": "edgenas.supernet.supernet",
    "cost": "edgenas.space.cost",
    "export_onnx": "edgenas.deploy.onnx.exporter",
    "import_ofa_checkpoint": "edgenas.supernet.ofa",
    "load_config": "edgenas.config.reading",
    "load_device": "edgenas.latency.device",
    "load_space": "edgenas.space.loading",
    "materialise": "edgenas.training.materialise",
    "parse_budget": "edgenas.budget",
    "space_from": "edgenas.supernet.pretrained.networks",
}

# Before any import of ONNX Runtime, which reads its variable at import.
disable_telemetry()

__all__ = [
    "Arch",
    "Budget",
    "Cost",
    "Device",
    "LatencyPredictor",
    "LatencyTable",
    "Preprocess",
    "RunConfig",
    "SearchSpace",
    "Subnet",
    "SuperNet",
    "cost",
    "export_onnx",
    "import_ofa_checkpoint",
    "load_config",
    "load_device",
    "load_space",
    "materialise",
    "parse_budget",
    "search",
    "space_from",
]


def __getattr__(name: str) -> Any:
    if name == "search":
        return importlib.import_module("edgenas.search")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'edgenas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
