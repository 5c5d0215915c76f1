"""The stages of a whole run, in order, each in a file of its own. What needs two rooms at once meets here.

profile → train → search → verify → finetune → export → report. Profiling comes first because it needs no weights: a
budget that the device cannot meet is known before the costly training starts. Every stage writes into its own folder
of the run, picks up where it stopped, and is not done again once its `result.json` stands.
"""
