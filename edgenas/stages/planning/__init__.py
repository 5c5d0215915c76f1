"""The estimates of a plan: time and disk space of each stage."""
