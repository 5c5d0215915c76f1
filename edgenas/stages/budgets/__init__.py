"""The budgets of a run as limits on architectures, and how much of the space is within them."""
