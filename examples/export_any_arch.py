"""Score and export any arch of a finished run, not just the chosen one.

python examples/export_any_arch.py runs/demo r16_w8-k3e1_w16-k3e2_w24-k3e2_w48-k3e2 my_model.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path

import edgenas
from edgenas.runs.run import open_run
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.training.materialise import top1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder that was profiled and trained")
    parser.add_argument("arch", help="the text form of an arch of its space")
    parser.add_argument("output", type=Path, help="the ONNX file to write")
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    arch = run.space.parse(arguments.arch)
    subnet = run_subnets(run)(arch)
    edgenas.export_onnx(subnet, arguments.output, variant=run.graph_variant)
    costs = edgenas.cost(subnet.specs)
    print(f"{arch}: {top1(subnet, run.images.scoring):.2%} validation top-1, {costs.macs / 1e6:.2f} M MACs")
    for device, predictor in read_latencies(run).predictors.items():
        low, high = predictor.interval([arch], 0.9)[0] / 1e3
        print(f"{device}: predicted {predictor.predict([arch])[0] / 1e3:.3f} ms, 90 % within [{low:.3f}, {high:.3f}]")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
