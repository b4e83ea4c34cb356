"""Backends: running the network with PyTorch, ONNX Runtime or OpenVINO."""
