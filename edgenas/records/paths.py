"""Paths of the records of a run, relative to its folder."""

from __future__ import annotations

RESULTS = {
    "profile": "latency/result.json",
    "train": "supernet/result.json",
    "search": "search/result.json",
    "verify": "verify/result.json",
    "finetune": "finetune/result.json",
    "export": "export/result.json",
    "report": "report/report.md",
}
"""The file that each stage writes when it is finished."""
DATA, SUMMARY, SESSIONS, COSTS = "data.json", "summary.json", "sessions.jsonl", "costs.jsonl"
GRAPH_VARIANT, REFIT = "latency/graph_variant.json", "latency/refit.json"
EVALUATIONS, ROUNDS = "search/evaluations.jsonl", "search/rounds.jsonl"
SHELF, UNDERSTANDING = "verify/shelf.json", "verify/understanding.json"
PLAN, HALVING = "finetune/plan.json", "finetune/halving.json"
PLANS = "finetune/plans"
"""A folder for each plan of successive halving, named by its setting: the plan and the networks that it trained."""
HINDSIGHT = "export/hindsight.json"
RANKING, BASELINES = "study/ranking/ranking.json", "study/baselines/baselines.json"
