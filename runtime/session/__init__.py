"""An onnxruntime session: where it runs, how it is opened, what goes in and comes out."""
