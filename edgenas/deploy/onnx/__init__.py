"""The one ONNX exporter, the variants of its graphs, and proof that a file computes what the subnet computes."""
