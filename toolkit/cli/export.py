"""``cnntk export``."""

from __future__ import annotations

from typing import Any

import click

from cnntk.cli.options import json_option
from cnntk.cli.output import note, print_json, show
from cnntk.runtime.sections import size_text


@click.command()
@click.argument("source", required=False)
@click.option("-o", "--output", metavar="FILE", help="By default the source's name, here.")
@click.option("--input", "size", metavar="CxHxW", help="What the network takes; by default the source's own.")
@click.option("--weights", metavar="FILE", help=".safetensors or .pt, for sources without their own.")
@click.option("--kwargs", metavar="K=V", multiple=True, help="An argument of the factory; may be repeated.")
@click.option("--labels", metavar="FILE", help="Names of the classes, one a line.")
@click.option("--random", is_flag=True, help="Seeded random weights, for trials.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of the random weights."
)
@click.option(
    "--preprocess",
    type=click.Choice(["graph", "host", "none"]),
    default="graph",
    show_default=True,
    help="Where images become the network's input: in the file, before it as its spec says, or nowhere.",
)
@click.option("--preprocessing", metavar="K=V", multiple=True,
              help="How images become the input, like mean=0.5,0.5,0.5; may be repeated.")  # fmt: skip
@click.option("--head", type=click.Choice(["auto", "classifier", "none"]), default="auto", show_default=True,
              help="Whether it is a classifier.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["auto", "float32", "float16", "float64"]), default="auto",
              show_default=True, help="Of weights and input; auto: the source's, if it runs.")  # fmt: skip
@click.option("--samples", metavar="PATH", help="Try these, too: a folder of images, or an .npz of arrays.")
@click.option(
    "--allow-double-softmax", is_flag=True, help="Take a softmax upon a softmax for what was meant."
)
@click.option("--external-data", is_flag=True,
              help="Large weights in a .data file beside it, which processes can share.")  # fmt: skip
@click.option("--report", metavar="FILE", help="Write what was shown as a page, to open in a browser.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
def export(
    source: str | None, output: str | None, report: str | None, as_json: bool, force: bool, **options: Any
) -> None:
    """Export SOURCE as one .onnx file that was compared with torch.

    SOURCE: a checkpoint's folder, a network of the zoo, package.module:factory, path/file.py:factory.
    Left out, the LeNet that ships with cnntk is written to the current folder.
    """
    if source is None:
        _copy(output, force, as_json, options)
        return
    from cnntk.exporters import export as export_source
    from cnntk.exporters.sources import parse_input

    done = export_source(
        source,
        output,
        input_shape=parse_input(options["size"]) if options["size"] else None,
        weights=options["weights"],
        kwargs=_parse_kwargs(options["kwargs"]),
        labels=_read_labels(options["labels"]) if options["labels"] else None,
        random=options["random"],
        seed=options["seed"],
        preprocess=options["preprocess"],
        image=key_values("--preprocessing", options["preprocessing"]),
        head=options["head"],
        dtype=options["dtype"],
        samples=options["samples"],
        allow_double_softmax=options["allow_double_softmax"],
        layer_parity=report is not None,
        external_data=options["external_data"],
        force=force,
    )
    if report:
        from cnntk.reports import write_report

        write_report(done, report)
        note(f"report: {report}")
    show(done, as_json, (*done.notes, *done.graph_lint.warnings))


def _copy(output: str | None, force: bool, as_json: bool, options: dict[str, Any]) -> None:
    from cnntk.shipped import copy_shipped_model

    said = click.get_current_context().get_parameter_source
    if extra := [name for name in options if said(name) is click.core.ParameterSource.COMMANDLINE]:
        raise click.UsageError(f"name a SOURCE: --{extra[0]} does not go with the shipped LeNet")
    path = copy_shipped_model(output, force=force)
    if as_json:
        print_json({"path": str(path), "name": "lenet", "size_bytes": path.stat().st_size})
    else:
        print(f"{path} ({size_text(path.stat().st_size)}): the LeNet that ships with cnntk")


def _parse_kwargs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``k=v`` with v as JSON where it is JSON (numbers, true, lists), else as text."""
    return {key: _json_or_text(value) for key, value in key_values("--kwargs", pairs).items()}


def key_values(option: str, pairs: tuple[str, ...]) -> dict[str, str]:
    """``k=v`` as text."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"{pair!r} is not of the form name=value", param_hint=option)
        found[key] = value
    return found


def _json_or_text(value: str) -> Any:
    import json

    try:
        return json.loads(value)
    except ValueError:
        return value


def _read_labels(file: str) -> tuple[str, ...]:
    from cnntk.runtime.errors import UsageError
    from cnntk.runtime.files import readable_file

    try:
        text = readable_file(file, "a text file of labels").read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file}: is no UTF-8 text; expected a label a line") from None
    labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not labels:
        raise UsageError(f"{file}: holds no label; expected one a line")
    return labels
