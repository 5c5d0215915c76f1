"""The stages of a whole run: profile → train → search → verify → finetune → export → report.

Profiling comes first because it needs no weights: a budget that the device cannot meet is found before the costly
training starts. Every stage writes into its own folder of the run and resumes where it stopped. A stage whose
`result.json` exists is finished.
"""
