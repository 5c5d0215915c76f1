"""Handing over: ONNX export, proof of parity, the bundle. Torch, onnx, onnxruntime."""
