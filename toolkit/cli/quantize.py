"""``cnntk quantize``."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import click

from cnntk.cli.options import add_options, command, json_option, option, to_options
from cnntk.cli.output import check_report, is_quiet, pick, show, write_page
from cnntk.cli.progress import StageProgress
from cnntk.cli.signals import FINISHES, STATUS
from cnntk.quantization.arguments import check_arguments, check_model
from cnntk.quantization.options import QuantizeOptions


@command(
    "cnntk quantize lenet.onnx --calibration digits",
    "cnntk quantize lenet.onnx --calibration digits --prefer size --max-drop 1 -o small.onnx",
)
@click.argument("model", required=False)
@add_options(QuantizeOptions)
@option("--report", metavar="FILE", group="Output", help="Write an HTML page with all candidates.")
@option("--dry-run", is_flag=True, group="Output", help="Show what would be tried, and for how long.")
@json_option
def quantize(model: str | None, report: str | None, dry_run: bool, as_json: bool, **values: Any) -> int:
    """Make MODEL smaller and faster, within an accuracy limit.

    Every candidate is compared with MODEL on images that it was not calibrated with, and timed against it.
    Layers that would be slower stay in float32. Ctrl-C writes the best candidate so far. If none is accepted,
    no file is written, and the exit status is 1.

    MODEL is an .onnx file. Left out, it is $CNNTK_MODEL, else the only float artifact in this folder, else
    the LeNet that ships with cnntk.
    """
    click.get_current_context().find_root().ensure_object(dict)[FINISHES] = True
    picked = pick(model)
    options = replace(to_options(QuantizeOptions, values), time_layers=bool(report))
    check_arguments(picked, options)
    check_report(report, force=options.force)
    check_model(picked, options)
    if dry_run and (report or options.work_folder):
        raise click.UsageError("--dry-run measures nothing: leave out --report and --resume")
    from cnntk.quantization.pipeline import preview_quantize
    from cnntk.quantization.pipeline import quantize as quantize_model

    if dry_run:
        show(preview_quantize(picked, options), as_json)
        return 0
    with StageProgress(wanted=not is_quiet()) as progress:
        result = quantize_model(picked, options, progress=progress)
    write_page(result, report)
    show(result, as_json, result.notes, result.warnings)
    if result.interrupted:
        return STATUS[signal.SIGINT]
    return 1 if result.path is None else 0
