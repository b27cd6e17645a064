"""Checks of the options of `bench` that need no numpy, so that wrong ones are refused at once."""

from __future__ import annotations

import glob
import importlib.util
import os
from pathlib import Path

from cnntk.benchmark.options import BenchOptions
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source_kind import check_source
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.files import check_output, model_file, readable_file
from cnntk.runtime.session.devices import parse_device_name

__all__ = ["check_arguments", "check_target", "is_torch_source"]


def check_arguments(options: BenchOptions) -> None:
    """Checks devices, files and targets that the options name.

    Raises:
        UsageError: There is no such device, target or file, or the result can't be saved.
        MissingDependency: A target needs a package that is not installed.
    """
    parse_device_name(options.device)
    for name in options.against:
        check_target(name)
        if is_torch_source(name):
            source_options = ExportOptions(weights=options.weights, random=options.random)
            check_source(name.partition(":")[2], source_options, needs_input=False)
    if isinstance(options.baseline, str | os.PathLike):
        readable_file(options.baseline, "a baseline, as cnntk bench --save writes it")
    if options.save is not None:
        check_output(Path(options.save), force=options.force)
    for image in options.images:
        if not isinstance(image, bytes) and not Path(image).is_dir() and not glob.has_magic(os.fspath(image)):
            readable_file(image, "an image")


def is_torch_source(name: str) -> bool:
    """Whether a name is ``torch:SOURCE``."""
    return name.startswith("torch:")


def check_target(name: str) -> None:
    """Checks the name of a target before anything is loaded.

    Raises:
        UsageError: There is no such kind of target, or the file does not exist.
        MissingDependency: The target needs a package that is not installed.
    """
    if name.endswith(".onnx") and not is_torch_source(name):
        model_file(name, "an ONNX model to measure against")
    elif name not in ("torch", "openvino") and not is_torch_source(name):
        raise UsageError(f"unknown target {name!r}; use an .onnx file, torch, torch:SOURCE or openvino")
    else:
        package = name.partition(":")[0]
        if importlib.util.find_spec(package) is None:
            extra = "cnntk[export]" if package == "torch" else package
            raise MissingDependency(
                f"--against {package} needs {package}, which is not installed: pip install '{extra}'"
            )
