"""Classifies the images that a user names: files, folders, patterns, standard input.

In the order of the work: `names` are checked and become files (`input_files`), files become results
(`result`, `pipeline`), results become rows (`rows`), which go to a file (`output_file`), through a `journal`
from which an interrupted run can be resumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.inference.input_files import expand
    from cnntk.inference.names import STANDARD_INPUT
    from cnntk.inference.output_file import InferenceSummary, infer_to_file
    from cnntk.inference.pipeline import infer
    from cnntk.inference.result import ImageResult
    from cnntk.runtime.images.search import LeftOutFiles

__all__ = [
    "STANDARD_INPUT",
    "ImageResult",
    "InferenceSummary",
    "LeftOutFiles",
    "expand",
    "infer",
    "infer_to_file",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "cnntk.inference.input_files": ("expand",),
        "cnntk.inference.names": ("STANDARD_INPUT",),
        "cnntk.inference.output_file": ("InferenceSummary", "infer_to_file"),
        "cnntk.inference.pipeline": ("infer",),
        "cnntk.inference.result": ("ImageResult",),
        "cnntk.runtime.images.search": ("LeftOutFiles",),
    },
)
