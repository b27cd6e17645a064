"""Decoding of images: from the bytes of a file to upright 8-bit pixels."""
