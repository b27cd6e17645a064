"""``cnntk quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cnntk.cli.export import key_values
from cnntk.cli.options import json_option
from cnntk.cli.output import note, pick, show
from cnntk.cli.progress import StageProgress

_INTERRUPTED = 130


@click.command()
@click.argument("model", required=False)
@click.option("--calibration", required=True, metavar="DATA",
              help="Images: digits, mnist:DIR, cifar10:DIR, folder:DIR, or a bare folder.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="By default the model's name with -int8, here.")
@click.option("--max-drop", default=0.5, show_default=True, type=click.FloatRange(0, 100),
              help="Of top-1, in points; without labels what flips cost.")  # fmt: skip
@click.option("--target", type=click.Choice(["any", "vnni"]), default="any", show_default=True,
              help="The same answers on every CPU, or on those with VNNI.")  # fmt: skip
@click.option("--prefer", type=click.Choice(["speed", "size"]), default="speed", show_default=True,
              help="The fastest, never slower than MODEL; or the smallest.")  # fmt: skip
@click.option("--evaluation", metavar="DATA", help="Judge by these; by default what DATA holds out.")
@click.option(
    "--calibration-images",
    "limit",
    type=click.IntRange(min=1),
    help="Images to calibrate with; 512 by default.",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="To time with; by default all there are.")
@click.option("--preprocessing", metavar="K=V", multiple=True,
              help="For another .onnx: how images become its input, as export takes it.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be tried, and how long it would take.")
@click.option("--resume", metavar="FOLDER", help="Keep what is measured there, and go on from it.")
@click.option("--report", metavar="FILE", help="Write what was tried as a page, to open in a browser.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
def quantize(
    model: str | None,
    calibration: str,
    preprocessing: tuple[str, ...],
    limit: int | None,
    dry_run: bool,
    resume: str | None,
    report: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Make MODEL smaller and faster, its accuracy within a bound.

    Every candidate is compared with MODEL on images that it was not calibrated with, and timed beside it.
    What would be slower stays as it was. Ctrl-C keeps the best so far.
    """
    from cnntk.quantization.pipeline import LIMIT, preview_quantize
    from cnntk.quantization.pipeline import quantize as quantize_model
    from cnntk.runtime.files import check_writable

    picked = pick(model)
    options |= {"limit": limit or LIMIT, "image": key_values("--preprocessing", preprocessing)}
    if report:
        check_writable(Path(report))
    if dry_run:
        if report or resume:
            raise click.UsageError("--dry-run measures nothing: leave out --report and --resume")
        show(preview_quantize(picked, calibration, **options), as_json)
        return 0
    with StageProgress() as progress:
        done = quantize_model(
            picked,
            calibration,
            work_folder=resume,
            time_layers=bool(report),
            progress=progress,
            **options,
        )
    if report:
        from cnntk.reports import write_report

        write_report(done, report)
        note(f"report: {report}")
    show(done, as_json, (*done.warnings, *done.notes))
    return _INTERRUPTED if done.interrupted else 0
