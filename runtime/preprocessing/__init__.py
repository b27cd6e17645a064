"""Preprocessing on the host: from pixels to a model's input by its spec."""
