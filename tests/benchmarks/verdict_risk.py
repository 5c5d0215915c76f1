"""Verdicts on a synthetic device: how often does a file ship as `within` that is over, or under, its budget?

    python tests/benchmarks/verdict_risk.py --runs 2000

prints JSON: by noise and by how far the file is over its budget, the share of runs that ship it as `within`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from machine import machine

sys.path.insert(0, str(Path(__file__).parent.parent))
from synthetic_shipping import share_within

KINDS = {"processes": (1, 0), "sessions": (0, 1), "both": (1, 1)}
NOISE, OVER = (0.01, 0.03, 0.05), (0.01, 0.0, -0.03, -0.06, -0.10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    rows = [
        {"noise_of": kind, "noise": noise}
        | {f"{over:+.0%}": share_within(own * noise, shared * noise, over, runs) for over in OVER}
        for kind, (own, shared) in KINDS.items()
        for noise in NOISE
    ]
    print(json.dumps({"machine": machine(), "runs": runs, "share_shipped_as_within": rows}, indent=2))


if __name__ == "__main__":
    main()
