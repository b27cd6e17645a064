"""Labeled images to train on and to calibrate with: one format a file, numpy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.data.dataset import Dataset, Split
    from cnntk.data.images import ArrayImages, FileImages, Images, PreparedImages, prepare
    from cnntk.data.source import FORMS, check_data, open_data

__all__ = [
    "FORMS",
    "ArrayImages",
    "Dataset",
    "FileImages",
    "Images",
    "PreparedImages",
    "Split",
    "check_data",
    "open_data",
    "prepare",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "cnntk.data.dataset": ("Dataset", "Split"),
        "cnntk.data.images": ("ArrayImages", "FileImages", "Images", "PreparedImages", "prepare"),
        "cnntk.data.source": ("FORMS", "check_data", "open_data"),
    },
)
