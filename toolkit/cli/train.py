"""``cnntk train``."""

from __future__ import annotations

from typing import Any

import click

from cnntk.cli.options import add_options, command, json_option, option, to_options
from cnntk.cli.output import is_quiet, note, show, warn
from cnntk.training.arguments import check_arguments
from cnntk.training.options import TrainOptions


@command(
    "cnntk train lenet --data digits",
    "cnntk train lenet --data folder:photos --epochs 2 -o runs/photos",
)
@click.argument("network", required=False, metavar="[NET]")
@option(
    "--data",
    metavar="DATA",
    group="Data",
    help="Labeled images: digits (default), mnist:DIR, fashion-mnist:DIR, cifar10:DIR, or folder:DIR with "
    "a folder per class.",
)
@option(
    "-o",
    "--output",
    metavar="FOLDER",
    group="Output",
    help="Folder of the checkpoint (default: runs/NET-DATA).",
)
@add_options(TrainOptions)
@json_option
def train(network: str | None, data: str | None, output: str | None, as_json: bool, **values: Any) -> None:
    """Train NET, a network of the zoo (default: lenet) or package.module:function.

    Options that are left out follow the recipe of the network, or with --resume the training that is resumed.
    Writes a checkpoint: a folder that cnntk export reads.
    """
    options = to_options(TrainOptions, values)
    check_arguments(network, data, output, options)
    from cnntk.training import train as train_network
    from cnntk.training.progress import EpochProgress, TrainProgress

    progress = TrainProgress() if is_quiet() else EpochProgress(note, warn)
    show(train_network(network, data, output, options, progress=progress), as_json)
