"""onnxruntime sessions: devices, loading, cache, bound memory, time limits and placement."""
