"""The layers of a graph, and their shapes by formula, torch, ONNX and onnxruntime."""
