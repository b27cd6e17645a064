"""Classifies the images that a user names: files, folders, patterns, standard input.

The files stand in the order of the work: names become files (`finding`), files become results (`running`),
results become lines (`rows`), which are written to a file (`formats`), by way of a journal where the run is to
outlive an interruption (`journal`, `writing`).
"""

from __future__ import annotations

from cnntk.inference.finding import STANDARD_INPUT, expand
from cnntk.inference.result import ImageResult
from cnntk.inference.running import infer
from cnntk.inference.writing import Written, infer_to_file

__all__ = ["STANDARD_INPUT", "ImageResult", "Written", "expand", "infer", "infer_to_file"]
