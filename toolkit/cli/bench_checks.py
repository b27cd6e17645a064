"""What can be wrong with the options of ``cnntk bench``, found before anything is measured."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.files import check_writable, readable_file

__all__ = ["check_options", "check_outputs", "same_file"]

_SOURCE = "torch:"


def check_options(given: dict[str, Any]) -> None:
    """Of options that belong together, of names, and of packages.

    Raises:
        UsageError: an option lacks the one that it is for, or a file is not there.
        MissingDependency: a package is not installed.
    """
    _check_together(given)
    _check_against(given)
    _check_packages(given)
    for name in ("save", "report"):
        if given[name]:
            check_writable(Path(given[name]))
    if given["plots"]:
        _check_plots(Path(given["plots"]), given["plot_format"])


def check_outputs(given: dict[str, Any], model: Path) -> None:
    """No output takes the place of what is read, nor of another one.

    Raises:
        UsageError: one would.
    """
    from cnntk.benchmark.regression import check_replaceable

    outputs = {f"--{name}": Path(given[name]) for name in ("save", "report", "plots") if given[name]}
    read = dict(_inputs(given, model))
    for option, file in outputs.items():
        for what, other in read.items():
            if same_file(file, other) and not (option == "--save" and what == "--compare"):
                raise UsageError(f"{option} {file}: is {what} that is read; choose another name")
        read[f"the file of {option}"] = file
    if given["save"]:
        check_replaceable(given["save"])


def _inputs(given: dict[str, Any], model: Path) -> Iterator[tuple[str, Path]]:
    yield "the model", model
    for number, other in enumerate(given["against"]):
        yield f"one of --against ({number + 1})", Path(other.removeprefix(_SOURCE))
    for number, image in enumerate(given["images"]):
        yield f"an image ({number + 1})", Path(image)
    if given["weights"]:
        yield "the file of weights", Path(given["weights"])
    if given["compare"]:
        yield "--compare", Path(given["compare"])


def same_file(one: Path, other: Path) -> bool:
    """Whatever their names, and whether they are there or not."""
    if one.exists() and other.exists():
        return os.path.samefile(one, other)
    return one.resolve() == other.resolve()


def _check_together(given: dict[str, Any]) -> None:
    if given["fail_above"] is not None and not given["compare"]:
        raise UsageError("--fail-above needs --compare FILE, which says what to compare with")
    if not given["scenarios"] and (given["full"] or given["qps"] or given["labeled"]):
        raise UsageError("--full, --qps and --labeled-images are for --scenario")
    if given["qps"] and "Server" not in given["scenarios"]:
        raise UsageError("--qps is for --scenario Server")
    sources = any(name.startswith(_SOURCE) for name in given["against"])
    if (given["weights"] or given["random"]) and not sources:
        raise UsageError("--weights and --random are for --against torch:SOURCE")


def _check_against(given: dict[str, Any]) -> None:
    from cnntk.benchmark.targets import NOBODY

    for name in given["against"]:
        if name.endswith(".onnx") and not name.startswith(_SOURCE):
            readable_file(name, "an ONNX model to measure against")
        elif name not in ("torch", "openvino") and not name.startswith(_SOURCE):
            raise UsageError(f"--against {name}: {NOBODY}")


def _check_packages(given: dict[str, Any]) -> None:
    against = given["against"]
    svg = given["plots"] and given["plot_format"] == "svg"
    for option, asked, package, extra in (
        ("--against torch", any(n.partition(":")[0] == "torch" for n in against), "torch", "cnntk[export]"),
        ("--against openvino", "openvino" in against, "openvino", "openvino"),
        ("--scenario", given["scenarios"], "mlperf_loadgen", "cnntk[loadgen]"),
        ("--report", given["report"], "jinja2", "cnntk[reports]"),
        ("--plots", svg, "jinja2", "cnntk[reports]"),
    ):
        if asked and importlib.util.find_spec(package) is None:
            raise MissingDependency(
                f"{option} needs {package}, which is not installed: pip install '{extra}'"
            )


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
