"""Checks of the arguments of `quantize` that need no onnx, so that wrong ones are refused at once."""

from __future__ import annotations

import os
from pathlib import Path

from cnntk.data.source import check_data
from cnntk.quantization.options import QuantizeOptions
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import check_output, model_file

__all__ = ["check_arguments"]


def check_arguments(model: str | os.PathLike[str], options: QuantizeOptions) -> Path:
    """Checks arguments of `cnntk.quantization.pipeline.quantize`, and returns the file to write.

    Raises:
        UsageError: There is no such model or data; the file to write exists or can't be written.
        DataError: The folder of the data does not exist.
        MissingDependency: The data needs a package that is not installed.
    """
    source = model_file(model)
    target = Path(options.output) if options.output is not None else Path(f"{source.stem}-int8.onnx")
    check_output(target, force=options.force)
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target}: is the model itself, which is kept; -o names another file")
    for data in (options.calibration, options.evaluation):
        if data is not None:
            check_data(data, bare_folder=True)
    if options.work_folder is not None and Path(options.work_folder).is_file():
        raise UsageError(f"{options.work_folder}: is a file; name a folder for the measurements")
    return target
