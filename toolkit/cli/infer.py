"""``cnntk infer``."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.output import json_option, note, print_json, print_table
from cnntk.cli.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cnntk.inference import ImageResult
    from cnntk.runtime.classifier import Predictions

    _Cells = tuple[str, str, str, str]

_PAGE = 1000
"""Rows whose columns are aligned together: a table of millions is not held in memory."""

_NOTES = 10


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "-m", "--model", metavar="MODEL", help="Artifact; by default the one here, or the shipped LeNet."
)
@click.option(
    "--top", default=3, show_default=True, type=click.IntRange(min=1), help="How many classes to tell."
)
@click.option("--format", "form", type=click.Choice(["table", "json", "csv", "parquet"]),
              help="json: one object a line. By default a table, or what FILE's suffix says.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Written when all is done, whole or not at all.")
@click.option("--resume", is_flag=True, help="Keep what is done in FILE.part, and go on with what is there.")
@click.option("--force", is_flag=True, help="Replace an existing FILE.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or auto.")
@click.option("--threads", type=click.IntRange(1, 1024), help="On the CPU; by default all that may be used.")
@click.option("--batch", type=click.IntRange(1, 65536),
              help="Images that go through the network together; by default 8, on a GPU 32.")  # fmt: skip
@click.option("--max-megapixels", type=click.FloatRange(min=0, min_open=True),
              help="Larger images are refused.")  # fmt: skip
@json_option
def infer(
    images: tuple[str, ...],
    model: str | None,
    top: int,
    form: str | None,
    output: str | None,
    resume: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Classify images: files, folders, patterns, or - for standard input."""
    _check_options(form, output, resume=resume, force=force, as_json=as_json)
    from cnntk.inference import expand
    from cnntk.inference import infer as classify
    from cnntk.shipped.model_choice import pick_model

    files = expand(images)
    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    options = {name: value for name, value in options.items() if value is not None}
    passing = output is None and form in ("json", "csv") and sys.stdout.isatty()  # that is progress enough
    bar = Bar("images", lambda: sum(1 for _ in expand(images)), wanted=not passing)
    if output is not None:
        said = {"form": form, "top": top, "resume": resume, "force": force, "progress": bar, **options}
        return _to_file(picked.path, files, output, said, as_json)
    results = _counted(classify(picked.path, files, **options), bar)
    if as_json:
        return _print_document(str(picked.path), results, top)
    if form in (None, "table"):
        return _print_tables(results, top, bar)
    return _print_rows(results, str(form), top)


def _check_options(form: str | None, output: str | None, *, resume: bool, force: bool, as_json: bool) -> None:
    if output is None and (resume or force):
        raise click.UsageError(f"--{'resume' if resume else 'force'} needs --output FILE")
    if output is None and form == "parquet":
        raise click.UsageError("--format parquet needs --output FILE")
    if output is None and as_json and form not in (None, "json"):
        raise click.UsageError(f"--json prints one JSON document, --format {form} does not: choose one")
    if output is not None and form == "table":
        raise click.UsageError("--format table is for the eye; --output takes json, csv or parquet")


def _to_file(
    model: Any, files: Iterable[str | ImageResult], output: str, options: dict[str, Any], as_json: bool
) -> int:
    from cnntk.inference import infer_to_file

    try:
        with options["progress"]:
            done = infer_to_file(model, files, output, **options)
    except KeyboardInterrupt:
        if options["resume"]:
            note(f"{output}.part: holds what is done; the same command goes on with it")
        raise
    if as_json:
        print_json(done.to_json())
    else:
        before = f", {done.resumed:,} of them done before" if done.resumed else ""
        note(f"wrote {done.path}: {done.images:,} images{before}")
    if done.failed:
        note(f"cnntk: {done.failed:,} of {done.images:,} images could not be read; their rows say why")
    return int(done.failed > 0)


def _counted(results: Iterable[ImageResult], bar: Bar) -> Iterator[ImageResult]:
    with bar:
        for done, result in enumerate(results, start=1):
            bar(done)
            yield result


def _print_document(model: str, results: Iterable[ImageResult], top: int) -> int:
    rows = [result.to_json(top) for result in results]
    print_json({"model": model, "results": rows})
    return int(any("error" in row for row in rows))


def _print_rows(results: Iterable[ImageResult], form: str, top: int) -> int:
    from cnntk.inference.rows import CsvRows, JsonRows

    failed = False
    writer = JsonRows(sys.stdout) if form == "json" else CsvRows(sys.stdout, top)
    for result in results:
        failed |= result.error is not None
        writer.write(result.to_json(top))
        sys.stdout.flush()
    return int(failed)


def _print_tables(results: Iterator[ImageResult], top: int, bar: Bar) -> int:
    failed = False
    header: list[_Cells] = [("image", "class", "prob", "then" if top > 1 else "")]
    widths = (0, 0, 0)
    while page := list(islice(results, _PAGE)):
        bar.hide()
        if rows := [_cells(r.file, r.predictions, top) for r in page if r.predictions]:
            rows = [_padded(cells, widths) for cells in header + rows]
            print_table(rows, right=[2])
            header, widths = [], _widths(rows)
        for result in page:
            if result.error:
                note(f"cnntk: {result.error}")
                failed = True
        _print_notes(page)
    return int(failed)


def _cells(file: str, predictions: Predictions, top: int) -> _Cells:
    from cnntk.runtime.images.reading import describe

    best, *rest = predictions.top(top)
    others = ", ".join(f"{p.label} {p.probability:.1%}" for p in rest)
    return describe(file), best.label, f"{best.probability:.1%}", others


def _padded(cells: _Cells, widths: tuple[int, int, int]) -> _Cells:
    """At least as wide as on the page before."""
    file, label, probability, others = cells
    return file.ljust(widths[0]), label.ljust(widths[1]), probability.rjust(widths[2]), others


def _widths(rows: list[_Cells]) -> tuple[int, int, int]:
    return max(len(r[0]) for r in rows), max(len(r[1]) for r in rows), max(len(r[2]) for r in rows)


def _print_notes(page: list[ImageResult]) -> None:
    """What was done to images before they were classified, of the first few."""
    noted = [result for result in page if result.notes]
    for result in noted[:_NOTES]:
        note(f"note: {result.file}: {', '.join(result.notes)}")
    if len(noted) > _NOTES:
        note(f"note: and so on, {len(noted) - _NOTES} more images")
