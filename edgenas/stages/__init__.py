"""The stages of a whole run: profile → train → search → verify → finetune → export → report.

Profiling comes first because it needs no weights: a budget that the device cannot meet is found before the costly
training starts. Every stage writes into its own folder of the run and resumes where it stopped. A stage whose
`result.json` exists is finished.

A file here is a stage, or a command on a run. What stages share is in rooms, each importing only those below it:

    shipping/   the network that ships: proven, timed again, bundled
    front/      the front of a search: scored, exported, measured, judged, ordered
    planning/   time and disk space of each stage
    weights/    the trained supernet, its subnets, fine-tuned networks and ones trained from scratch
    budgets/    budgets as limits on architectures
    devices/    measured latencies, graphs that are timed, measuring sessions
"""
