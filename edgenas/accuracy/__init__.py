"""What an architecture scores: accuracies measured by others, and predictors of accuracy."""
