"""One frozen type for every file of a run folder: the only place that has the file formats."""
