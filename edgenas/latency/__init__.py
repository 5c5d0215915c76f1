"""What a device charges: device files, tables of measured latencies, and the predictor fitted on them."""
