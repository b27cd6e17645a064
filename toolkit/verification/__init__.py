"""Checks of a finished model: self-test, comparison with its source, preprocessing, inspection."""
