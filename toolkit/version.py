"""Version of cnntk, which all other files read from here."""

__version__ = "0.1.0"
