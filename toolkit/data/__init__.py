"""Labeled images to train on and to calibrate with: one format a file, numpy only."""

from __future__ import annotations

from cnntk.data.dataset import Dataset, Split
from cnntk.data.images import ArrayImages, FileImages, Images, PreparedImages, prepare
from cnntk.data.source import FORMS, open_data

__all__ = [
    "FORMS",
    "ArrayImages",
    "Dataset",
    "FileImages",
    "Images",
    "PreparedImages",
    "Split",
    "open_data",
    "prepare",
]
