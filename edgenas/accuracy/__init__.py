"""Sources of accuracies, behind one protocol: the run's supernet, tables that others measured, and predictors."""
