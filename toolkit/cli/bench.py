"""``cnntk bench``."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cnntk.benchmark.arguments import check_arguments
from cnntk.benchmark.options import BenchOptions
from cnntk.cli.options import add_options, command, json_option, option, to_options
from cnntk.cli.output import (
    check_report,
    is_quiet,
    note,
    pick,
    print_json,
    print_sections,
    require_jinja,
    write_page,
)
from cnntk.cli.progress import StageProgress
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import check_output


@command("cnntk bench lenet.onnx", "cnntk bench lenet.onnx --batch 1,8 --layers --report bench.html")
@click.argument("model", required=False)
@add_options(BenchOptions)
@option("--report", metavar="FILE", group="Output", help="Write a page to open in a browser; adds --layers.")
@option("--plots", metavar="FOLDER", group="Output", help="Write the charts of the report as SVG files.")
@json_option
def bench(model: str | None, report: str | None, plots: str | None, as_json: bool, **values: Any) -> None:
    """Measure latency, throughput, cold start and memory of MODEL.

    MODEL is an .onnx file. Left out, it is $CNNTK_MODEL, else the only float artifact in this folder, else
    the LeNet that ships with cnntk.
    """
    options = to_options(BenchOptions, values)
    if report or plots:
        options = replace(options, layers=True)
    outputs = {"--report": report, "--plots": plots}
    path = pick(model)
    _check_distinct(options, outputs, path)
    check_arguments(options)
    check_report(report, force=options.force)
    if plots:
        _check_plots(Path(plots), force=options.force)
    from cnntk.benchmark.run import bench as measure

    with StageProgress(wanted=not is_quiet(), ticks=False) as progress:
        result = measure(path, options, progress=lambda stage: progress(f"measuring {stage}"))
    if as_json:
        print_json(result)
    else:
        print_sections(result.sections(), result.header())
    write_page(result, report)
    if plots:
        from cnntk.reports import write_plots

        for file in write_plots(result, plots):
            note(f"plot: {file}")
    if result.saved:
        note(f"saved: {result.saved}")
    if result.regressed:
        raise click.exceptions.Exit(1)


def _check_plots(path: Path, *, force: bool) -> None:
    """Checks a folder, which may not exist yet, or a file name that the names of all plots begin with.

    Raises:
        UsageError: It is a file, has plots already, or can't be written.
        MissingDependency: jinja2 is not installed.
    """
    require_jinja("--plots")
    is_folder = path.is_dir()
    if path.exists() and not is_folder:
        raise UsageError(f"--plots {path}: is a file; name a folder")
    if path.suffix and path.suffix.lower() != ".svg" and not is_folder:
        raise UsageError(f"--plots {path}: plots are SVG files; name a folder or a .svg file")
    file = path / "plot.svg" if is_folder else path
    check_output(file, force=force)
    names = "*.svg" if is_folder else f"{glob.escape(path.stem)}-*.svg"
    if (is_folder or path.suffix) and not force and (other := next(file.parent.glob(names), None)):
        raise UsageError(f"--plots {path}: {other} exists already; --force replaces it, or use another name")


def _check_distinct(options: BenchOptions, outputs: dict[str, str | None], model: Path) -> None:
    """Checks that no output replaces an input or another output.

    Raises:
        UsageError: One would.
    """
    inputs = dict(_inputs(options, model))
    for name, output in {**outputs, "--save": options.save}.items():
        if output is None:
            continue
        for title, other in inputs.items():
            if _same_file(Path(output), other) and not (name == "--save" and title == "--compare"):
                raise UsageError(f"{name} {output}: is {title} that is read; choose another name")
        inputs[f"the file of {name}"] = Path(output)


def _inputs(options: BenchOptions, model: Path) -> Iterator[tuple[str, Path]]:
    yield "the model", model
    for index, other in enumerate(options.against, 1):
        yield f"one of --against ({index})", Path(other.removeprefix("torch:"))
    for index, image in enumerate(options.images, 1):
        yield f"an image ({index})", Path(os.fsdecode(image))
    if options.weights:
        yield "the file of weights", Path(options.weights)
    if isinstance(options.baseline, str):
        yield "--compare", Path(options.baseline)


def _same_file(first: Path, second: Path) -> bool:
    """Whether both are one file, whatever their names, and whether it exists or not."""
    if first.exists() and second.exists():
        return os.path.samefile(first, second)
    return first.resolve() == second.resolve()
