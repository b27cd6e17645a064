"""Classifies the images that a user names: files, folders, patterns, standard input.

In the order of the work: names become files (`input_files`), files become results (`result`, `pipeline`),
results become rows (`rows`), which go to a file (`output_file`), through a `journal` from which an
interrupted run can be resumed.
"""

from __future__ import annotations

from cnntk.inference.input_files import STANDARD_INPUT, expand
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
