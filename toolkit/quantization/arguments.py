"""Checks of the arguments of `quantize` that need no onnx, so that wrong ones are refused at once."""

from __future__ import annotations

import os
from pathlib import Path

from cnntk.data.source import check_data
from cnntk.quantization.options import QuantizeOptions
from cnntk.runtime.errors import UnsupportedArtifact, UsageError
from cnntk.runtime.files import check_output, model_file

__all__ = ["check_arguments", "check_model"]


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


def check_model(model: str | os.PathLike[str], options: QuantizeOptions) -> None:
    """Checks, before long work, that a file which is no artifact is a classifier of images.

    Raises:
        UnsupportedArtifact: It is not, or nothing states how images become its input.
        UsageError: The stated preprocessing does not fit the input, or the artifact states another.
    """
    from cnntk.inference.model import stated_preprocessing
    from cnntk.runtime.class_scores import class_scores
    from cnntk.runtime.engine import Engine

    engine = Engine(model)
    spec = engine.spec
    lacks_one = spec is not None and spec.head == "classifier" and spec.preprocessing is None
    if (lacks_one and len(engine.inputs) == 1) or (spec is not None and options.preprocessing):
        stated_preprocessing(engine, options.preprocessing)
    if spec is not None or options.input_shape is not None:  # it states sizes that are open
        return
    is_open = any(isinstance(size, str) for tensor in engine.inputs for size in tensor.shape[1:])
    preprocessing = stated_preprocessing(engine, options.preprocessing) if is_open else None
    try:
        class_scores(engine, preprocessing)
    except UnsupportedArtifact as error:
        text = f"{error}. quantize judges candidates by the classes that they predict"
        raise UnsupportedArtifact(text) from error
    if not is_open:
        stated_preprocessing(engine, options.preprocessing)
