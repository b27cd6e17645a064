"""The proof: what is checked before a model may leave, one check a file."""
