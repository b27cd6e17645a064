"""``cnntk inspect``."""

from __future__ import annotations

import click

from cnntk.cli.options import command, json_option
from cnntk.cli.output import pick, show


@command("cnntk inspect", "cnntk inspect lenet.onnx --json")
@click.argument("model", required=False)
@json_option
def inspect(model: str | None, as_json: bool) -> None:
    """Show what a model file holds: inputs, preprocessing, layers, memory and the checks that it passed.

    MODEL is an .onnx file. Left out, it is $CNNTK_MODEL, else the only float artifact in this folder, else
    the LeNet that ships with cnntk.
    """
    path = pick(model)
    from cnntk.verification.inspection import inspect as inspect_model

    inspection = inspect_model(path)
    show(inspection, as_json, inspection.notes)
