"""Runs timed one after the other, and what they show: figures, drift, noise."""
