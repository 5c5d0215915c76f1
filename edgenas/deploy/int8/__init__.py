"""int8 files, quantised by ONNX Runtime so that its CPU kernels run fastest."""
