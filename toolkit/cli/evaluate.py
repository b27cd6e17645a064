"""``cnntk evaluate``."""

from __future__ import annotations

from typing import Any

import click

from cnntk.cli.options import add_options, command, device_option, json_option, option, to_options
from cnntk.cli.output import check_report, is_quiet, pick, show, warn, write_page
from cnntk.cli.progress import StageProgress
from cnntk.evaluation.arguments import check_arguments
from cnntk.evaluation.options import EvaluateOptions

_UNREADABLE_IMAGES = 8
"""Images that can't be read of which text names each."""


@command(
    "cnntk evaluate lenet.onnx --data folder:photos --report page.html",
    "cnntk evaluate lenet.onnx --data digits --calibrate -o calibrated.onnx",
)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@add_options(EvaluateOptions, skip=["device"])
@device_option("Execution")
@option("--report", metavar="FILE", group="Output", help="Write an HTML page with all figures.")
@json_option
def evaluate(models: tuple[str, ...], report: str | None, as_json: bool, **values: Any) -> int:
    """Measure how well MODELs classify labeled images.

    Prints accuracy with confidence intervals, loss, the scores of each class, what is confused with what,
    whether confidences can be trusted (ECE), and the worst mistakes. Several MODELs are compared on the same
    images.

    MODEL is an .onnx file. Left out, it is $CNNTK_MODEL, else the only float artifact in this folder, else
    the LeNet that ships with cnntk. Exits with 1 if an image cannot be read, or if no temperature helps.
    """
    options = to_options(EvaluateOptions, values)
    paths = [pick(model) for model in models or (None,)]
    check_arguments(paths, options)
    check_report(report, force=options.force)
    from cnntk.evaluation.run import evaluate as evaluate_models

    with StageProgress(wanted=not is_quiet()) as progress:
        result = evaluate_models(paths, options, progress=progress)
    write_page(result, report)
    show(result, as_json, result.notes, result.unreadable[:_UNREADABLE_IMAGES])
    if len(result.unreadable) > _UNREADABLE_IMAGES:
        warn(f"{len(result.unreadable)} images cannot be read; --json names all of them")
    return 0 if result.holds else 1
