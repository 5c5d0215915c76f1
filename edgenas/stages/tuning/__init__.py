"""Fine-tuning of several candidates by successive halving."""
