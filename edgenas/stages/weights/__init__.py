"""Networks with weights: the trained supernet, its subnets, fine-tuned ones, and ones trained from scratch."""
