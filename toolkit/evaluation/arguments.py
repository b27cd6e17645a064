"""Checks of the arguments of `evaluate` that need no numpy, so that wrong ones are refused at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cnntk.data.source import check_data
from cnntk.evaluation.options import EvaluateOptions
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import check_output, model_file

__all__ = ["check_arguments"]


def check_arguments(models: Sequence[str | os.PathLike[str]], options: EvaluateOptions) -> Path | None:
    """Checks arguments of `cnntk.evaluation.run.evaluate`, and returns the file to write; None for none.

    Raises:
        UsageError: There is no such model or data, or a model twice; the file to write exists or can't be
            written.
        DataError: The folder of the data does not exist.
        MissingDependency: The data needs a package that is not installed.
    """
    if not models or len({os.fspath(model) for model in models}) < len(models):
        raise UsageError("models: expected one or more, each named once")
    files = [model_file(model) for model in models]
    check_data(options.data, bare_folder=True)
    if not options.calibrate:
        return None
    if len(files) > 1:
        raise UsageError(f"--calibrate takes one model, got {len(files)}")
    default = Path(f"{files[0].stem}-calibrated.onnx")
    target = default if options.output is None else Path(options.output)
    check_output(target, force=options.force)
    if target.exists() and target.samefile(files[0]):
        raise UsageError(f"{target}: is the model itself, which is kept; -o names another file")
    return target
