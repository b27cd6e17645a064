"""From pixels to a model's input, as its spec says."""
