"""Quantisation of exported files to int8 with ONNX Runtime's quantiser."""
