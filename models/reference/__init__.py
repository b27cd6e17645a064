"""Layer mathematics in plain numpy: the reference for tests, independent of torch."""

from __future__ import annotations

from cnntk.models.reference._convolution import conv1x1, corr2d, corr2d_multi_in, corr2d_multi_in_out
from cnntk.models.reference._dropout import dropout
from cnntk.models.reference._pooling import pool2d
from cnntk.models.reference._softmax import cross_entropy, log_softmax, softmax, softmax_naive
from cnntk.models.reference.shapes import output_size, smallest_input

__all__ = [
    "conv1x1",
    "corr2d",
    "corr2d_multi_in",
    "corr2d_multi_in_out",
    "cross_entropy",
    "dropout",
    "log_softmax",
    "output_size",
    "pool2d",
    "smallest_input",
    "softmax",
    "softmax_naive",
]
