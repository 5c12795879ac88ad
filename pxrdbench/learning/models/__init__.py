"""Trained models: checkpoints, releases, ONNX."""
