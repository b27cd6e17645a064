"""Layer mathematics in plain numpy: the reference for tests, independent of torch."""

from __future__ import annotations

from cnntk.models.reference.convolution import conv1x1, corr2d, corr2d_multi_in, corr2d_multi_in_out
from cnntk.models.reference.dropout import dropout
from cnntk.models.reference.pooling import pool2d
from cnntk.models.reference.shapes import output_size, smallest_input
from cnntk.models.reference.softmax import cross_entropy, log_softmax, softmax, softmax_naive

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
