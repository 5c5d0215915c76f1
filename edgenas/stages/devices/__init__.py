"""What a run has of its devices: measured latencies, graphs that are timed, sessions, and int8 files."""
