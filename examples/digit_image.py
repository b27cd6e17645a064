"""Writes a handwritten seven of scikit-learn's digits as a PNG: black on white, 200x200, as scanned."""

import sys

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

digits = load_digits()
seven = digits.images[digits.target == 7][3]
pixels = (255 - seven * 255 / 16).astype(np.uint8)
Image.fromarray(pixels).resize((200, 200), Image.Resampling.BICUBIC).save(sys.argv[1])
