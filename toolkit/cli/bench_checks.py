"""What can be wrong with the options of ``cnntk bench``, found before anything is measured."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnntk.benchmark.options import BenchOptions
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.files import check_writable

__all__ = ["check_options", "check_outputs", "same_file"]

_SOURCE = "torch:"


def check_options(output: dict[str, Any]) -> None:
    """Checks the files of a report and of plots, and the packages that they need.

    Raises:
        UsageError: A file can't be written.
        MissingDependency: A package is not installed.
    """
    if output["report"]:
        check_writable(Path(output["report"]))
    if output["plots"]:
        _check_plots(Path(output["plots"]), output["plot_format"])
    for option in ("report", "plots"):
        png = option == "plots" and output["plot_format"] == "png"
        if output[option] and not png and importlib.util.find_spec("jinja2") is None:
            raise MissingDependency(
                f"--{option} needs jinja2, which is not installed: pip install 'cnntk[reports]'"
            )


def check_outputs(options: BenchOptions, output: dict[str, Any], model: Path) -> None:
    """Refuses an output that would overwrite an input or another output.

    Raises:
        UsageError: One would.
    """
    outputs = {f"--{name}": Path(output[name]) for name in ("report", "plots") if output[name]}
    if options.save:
        outputs["--save"] = Path(options.save)
    inputs = dict(_inputs(options, model))
    for option, file in outputs.items():
        for name, other in inputs.items():
            if same_file(file, other) and not (option == "--save" and name == "--compare"):
                raise UsageError(f"{option} {file}: is {name} that is read; choose another name")
        inputs[f"the file of {option}"] = file


def _inputs(options: BenchOptions, model: Path) -> Iterator[tuple[str, Path]]:
    yield "the model", model
    for number, other in enumerate(options.against):
        yield f"one of --against ({number + 1})", Path(other.removeprefix(_SOURCE))
    for number, image in enumerate(options.images):
        if not isinstance(image, bytes):
            yield f"an image ({number + 1})", Path(image)
    if options.weights:
        yield "the file of weights", Path(options.weights)
    if isinstance(options.baseline, str):
        yield "--compare", Path(options.baseline)


def same_file(one: Path, other: Path) -> bool:
    """Whatever their names, and whether they are there or not."""
    if one.exists() and other.exists():
        return os.path.samefile(one, other)
    return one.resolve() == other.resolve()


def _check_plots(path: Path, kind: str) -> None:
    """A folder, which may not be there yet, or a file's name that those of the plots begin with."""
    if path.is_dir():
        check_writable(path / f"plot.{kind}")
    elif path.exists():
        raise UsageError(f"--plots {path}: is a file; name a folder")
    elif path.suffix and path.suffix.lower() != f".{kind}":
        raise UsageError(f"--plots {path}: plots are written as {kind}; name a folder, or a .{kind} file")
    else:
        check_writable(path)
