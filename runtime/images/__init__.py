"""From an image file's bytes to upright pixels of 8 bits."""
