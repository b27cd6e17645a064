"""``cnntk infer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnntk.cli.output import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cnntk.inference import ImageResult


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "-m", "--model", metavar="MODEL", help="Artifact; by default the one here, or the shipped LeNet."
)
@click.option(
    "--top", default=3, show_default=True, type=click.IntRange(min=1), help="How many classes to tell."
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True,
              help="json: one object a line.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or auto.")
@click.option("--threads", type=click.IntRange(1, 1024), help="On the CPU; by default all that may be used.")
@json_option
def infer(
    images: tuple[str, ...],
    model: str | None,
    top: int,
    form: str,
    device: str,
    threads: int | None,
    as_json: bool,
) -> int:
    """Classify images: files, folders, patterns, or - for standard input."""
    from cnntk.inference import expand
    from cnntk.inference import infer as classify
    from cnntk.picking import pick_model
    from cnntk.runtime.classifier import Classifier

    files = expand(images)
    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    results = classify(Classifier(picked.path, device, threads=threads), files)
    if form == "json" and not as_json:
        return _print_lines(results, top)
    answered = list(results)
    if as_json:
        print_json({"model": str(picked.path), "results": [r.to_json(top) for r in answered]})
    else:
        _print_table(answered, top)
    return int(any(r.error for r in answered))


def _print_lines(results: Iterable[ImageResult], top: int) -> int:
    import json

    failed = False
    for result in results:
        failed |= result.error is not None
        print(json.dumps(result.to_json(top), ensure_ascii=False), flush=True)
    return int(failed)


def _print_table(results: list[ImageResult], top: int) -> None:
    rows = []
    for result in results:
        if result.predictions is None:
            continue
        best, *rest = result.predictions.top(top)
        others = ", ".join(f"{p.label} {p.probability:.1%}" for p in rest)
        rows.append((result.file, best.label, f"{best.probability:.1%}", others))
    if rows:
        print_table(rows, header=("image", "class", "prob", "then" if top > 1 else ""), right=[2])
    for result in results:
        if result.error:
            note(f"cnntk: {result.error}")
