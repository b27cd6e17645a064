"""Lint for graphs: hints about how a network is built, and the memory of its activations."""
