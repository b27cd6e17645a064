"""``cnntk export``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from cnntk.cli.options import add_options, command, json_option, option, to_options
from cnntk.cli.output import check_report, command_line, is_quiet, print_json, print_line, show, write_page
from cnntk.cli.progress import StageProgress
from cnntk.exporters.options import ExportOptions
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import check_output
from cnntk.runtime.sections import size_text


@command(
    "cnntk export runs/lenet-digits -o digits.onnx",
    "cnntk export lenet --random -o trial.onnx --report trial.html",
)
@click.argument("source", required=False)
@option(
    "-o",
    "--output",
    metavar="FILE",
    group="Output",
    help="Path of the .onnx file; by default the source's name, with -cnntk where that is the source.",
)
@add_options(ExportOptions)
@option("--report", metavar="FILE", group="Output", help="Write an HTML report of the export.")
@json_option
def export(source: str | None, output: str | None, report: str | None, as_json: bool, **values: Any) -> None:
    """Export SOURCE as one .onnx file that is checked against torch.

    SOURCE: a checkpoint's folder, a network of the zoo, package.module:NAME, path/file.py:NAME, a .pt2
    or .onnx file, timm:NAME, torchvision.models:NAME or transformers:NAME. NAME in a module or file is
    a function or class that builds a network, or a network. Without SOURCE, the LeNet that ships with cnntk
    is copied to the current folder.
    """
    if source is None:
        _copy(output, as_json, values)
        return
    from cnntk.exporters.source_kind import check_source

    options = to_options(ExportOptions, values)
    check_source(source, options)
    if output is not None:
        check_output(Path(output), force=options.force)
    if isinstance(options.samples, str) and not Path(options.samples).exists():
        raise UsageError(f"{options.samples}: no such folder or .npz file (from --samples)")
    check_report(report, force=options.force)
    from cnntk.exporters import export as export_source

    # What the user's code prints is no part of the answer.
    with contextlib.redirect_stdout(sys.stderr), StageProgress(wanted=not is_quiet()) as progress:
        result = export_source(source, output, options, progress=progress, layer_errors=report is not None)
    write_page(result, report)
    first, *others = result.notes or ("",)
    if result.suggested_preset is not None:
        first += f"; like: {command_line('--preprocessing', result.suggested_preset, '--force')}"
    show(result, as_json, (*filter(None, [first]), *others, *result.graph_lint.warnings))


def _copy(output: str | None, as_json: bool, values: dict[str, Any]) -> None:
    from cnntk.shipped import copy_shipped_model, shipped_model

    force = values.pop("force")
    origin = click.get_current_context().get_parameter_source
    if extra := [name for name in values if origin(name) is click.core.ParameterSource.COMMANDLINE]:
        raise click.UsageError(
            f"--{extra[0].replace('_', '-')} needs a SOURCE; the shipped LeNet is only copied"
        )
    path, size_bytes = copy_shipped_model(output, force=force), shipped_model().stat().st_size
    if as_json:
        print_json({"path": str(path), "name": "lenet", "size_bytes": size_bytes})
    else:
        print_line(f"{path} ({size_text(size_bytes)}): the LeNet that ships with cnntk")
