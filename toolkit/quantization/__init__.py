"""A smaller and faster model: what its activations are, and on which grid of integers they go."""
