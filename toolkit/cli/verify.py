"""``cnntk verify``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from cnntk.cli.options import command, device_option, json_option, option, preprocessing_option
from cnntk.cli.output import is_quiet, pick, show, warn
from cnntk.cli.progress import ProgressLine
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source_kind import check_source
from cnntk.runtime.errors import DataError

_UNREADABLE_IMAGES = 8
"""Images that can't be read of which text names each."""


@command("cnntk verify lenet.onnx", "cnntk verify lenet.onnx --against runs/lenet-digits")
@click.argument("model", required=False)
@option(
    "--against",
    metavar="OTHER",
    group="Against another model",
    help="Also compare outputs and weights with OTHER: an .onnx file, or a source as export takes it.",
)
@option(
    "--weights",
    metavar="FILE",
    group="Against another model",
    help="Weights of a source that has none of its own, see export --weights.",
)
@option(
    "--random", is_flag=True, group="Against another model", help="Give such a source seeded random weights."
)
@option(
    "--trust",
    is_flag=True,
    group="Against another model",
    help="Run the code that the source's file names or holds, see export --trust.",
)
@option(
    "--images",
    metavar="FOLDER",
    group="Preprocessing",
    help="Check whether labeled images score better with other preprocessing.",
)
@option(
    "--max-images",
    type=click.IntRange(min=1),
    group="Preprocessing",
    help="Number of images of FOLDER to use at most.  [default: 300]",
)
@preprocessing_option(
    "Preprocessing",
    "How an image becomes the input of a MODEL that does not state it: imagenet, clip, unit ..., or fields "
    "like mean=0.5,std=0.5, as for export.",
)
@device_option()
@json_option
def verify(
    model: str | None,
    against: str | None,
    weights: str | None,
    random: bool,
    trust: bool,
    images: str | None,
    max_images: int | None,
    preprocessing: dict[str, str],
    device: str,
    as_json: bool,
) -> int:
    """Check that MODEL still computes what was exported.

    Checks the embedded digest, the fingerprints of the weights, and the outputs of the self-test on this
    device.

    With --images: checks whether the preprocessing is the one that the network was trained with. FOLDER holds
    a folder per class, named by the model's label or its number; common mistakes (BGR, no /255, another mean,
    ...) are tried. The pixels that the graph makes of each image are compared with the host's; the limit of
    their difference is 0 after an export with --resize exact.

    Exits with 1 if a check fails.
    """
    if against is None and (weights or random or trust):
        raise click.UsageError("--weights, --random and --trust belong to the source that --against names")
    if images is not None and against is not None:
        raise click.UsageError("--images excludes --against: it checks the preprocessing of MODEL alone")
    if images is None and max_images is not None:
        raise click.UsageError("--max-images belongs to --images")
    if images is None and preprocessing:
        raise click.UsageError("--preprocessing belongs to --images")
    if images is not None and not Path(images).is_dir():
        raise DataError(f"{images}: no such folder; expected one that contains a folder per class")
    if against is not None:
        check_source(against, ExportOptions(weights=weights, random=random, trust=trust), needs_input=False)
    path = pick(model)
    if images is not None:
        return _check_images(path, images, max_images, preprocessing, device, as_json)
    if against is not None and ":" in against:
        sys.path.append(os.getcwd())  # behind the installed packages, so that none of them is shadowed
    from cnntk.verification.artifact import verify as verify_model

    verification = verify_model(path, against, weights=weights, random=random, trust=trust, device=device)
    show(verification, as_json, verification.notes)
    return 0 if verification.holds else 1


def _check_images(
    model: Path,
    images: str,
    max_images: int | None,
    preprocessing: dict[str, str],
    device: str,
    as_json: bool,
) -> int:
    from cnntk.evaluation.preprocessing_check import MAX_IMAGES, check_preprocessing

    count = max_images or MAX_IMAGES
    with ProgressLine("images", wanted=not is_quiet()) as line:
        report = check_preprocessing(
            model, images, max_images=count, preprocessing=preprocessing, device=device, progress=line
        )
    show(report, as_json, report.notes, report.unreadable[:_UNREADABLE_IMAGES])
    if len(report.unreadable) > _UNREADABLE_IMAGES:
        warn(f"{len(report.unreadable)} images cannot be read; --json names all of them")
    return 0 if report.holds else 1
