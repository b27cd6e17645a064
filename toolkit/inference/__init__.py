"""Classifies the images that a user names: files, folders, patterns, standard input.

In the order of the work: names become files (`finding`), files become results (`result`, `running`), results
become rows (`rows`), which go to a file (`writing`), by way of a `journal` where they are to outlive an
interruption.
"""

from __future__ import annotations

from cnntk.inference.finding import STANDARD_INPUT, expand
from cnntk.inference.result import ImageResult
from cnntk.inference.running import infer
from cnntk.inference.writing import InferenceSummary, infer_to_file

__all__ = ["STANDARD_INPUT", "ImageResult", "InferenceSummary", "expand", "infer", "infer_to_file"]
