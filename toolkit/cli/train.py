"""``cnntk train``."""

from __future__ import annotations

from typing import Any

import click

from cnntk.cli.options import json_option
from cnntk.cli.output import show

_POSITIVE = click.IntRange(min=1)
_NOT_NEGATIVE = click.FloatRange(min=0)


@click.command()
@click.argument("network", required=False, metavar="[NET]")
@click.option(
    "--data",
    metavar="DATA",
    help="By default digits; mnist:DIR, fashion-mnist:DIR, cifar10:DIR, folder:DIR with a folder per class.",
)
@click.option("-o", "--output", metavar="FOLDER", help="By default runs/NET-DATA.")
@click.option("--epochs", type=_POSITIVE, help="By default the network's; more on small data.")
@click.option("--batch-size", type=_POSITIVE, help="Images a step.")
@click.option("--optimizer", type=click.Choice(["adamw", "sgd"]))
@click.option("--learning-rate", "--lr", type=_NOT_NEGATIVE, help="At its peak.")
@click.option("--weight-decay", type=_NOT_NEGATIVE)
@click.option(
    "--schedule", type=click.Choice(["one-cycle", "cosine", "constant"]), help="Of the learning rate."
)
@click.option(
    "--augment", type=click.Choice(["shift", "zoom", "flip", "none"]), multiple=True, help="May be repeated."
)
@click.option("--image-size", type=_POSITIVE, help="Height and width of the network's input.")
@click.option("--init", type=click.Choice(["xavier", "normal"]), help="How the weights start.")
@click.option("--dropout", type=click.FloatRange(0, 1), help="For networks that have it.")
@click.option("--seed", type=click.IntRange(min=0), help="Of everything random; by default 0.")
@click.option("--device", help="cpu (the default), cuda, cuda:1 or auto.")
@click.option("--body", metavar="CHECKPOINT", help="Start from its network, with a new head.")
@click.option("--freeze", is_flag=True, default=None, help="Keep the body's weights as they are.")
@click.option("--resume", is_flag=True, help="Go on with what was begun in FOLDER, as it was begun.")
@click.option("--force", is_flag=True, help="Start again in a FOLDER that exists.")
@json_option
def train(network: str | None, augment: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Train NET, a network of the zoo (by default lenet) or package.module:function.

    What is left out is the network's own recipe, and with --resume as it was begun.
    Leaves a checkpoint: a folder that cnntk export takes.
    """
    from cnntk.training import train as train_network

    report = train_network(network, augment=_augmentations(augment), **options)
    show(report, as_json)


def _augmentations(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """None where nothing was said: then the recipe decides."""
    if "none" in names and len(set(names)) > 1:
        raise click.BadParameter("none goes with no other", param_hint="--augment")
    return tuple(name for name in dict.fromkeys(names) if name != "none") if names else None
