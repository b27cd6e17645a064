"""``cnntk infer``."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.options import command, device_option, json_option, option
from cnntk.cli.output import is_quiet, note, pick, print_json, print_table, problem, shown
from cnntk.cli.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cnntk.inference import ImageResult
    from cnntk.runtime.classifier import Predictions

    _Cells = tuple[str, str, str, str]

_PAGE = 1000
"""Number of rows whose columns are aligned together: a table of millions is not held in memory."""

_NOTES = 10


@command("cnntk infer photos", "cnntk infer -m lenet.onnx photos/*.png --format csv -o predictions.csv")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@option(
    "-m",
    "--model",
    metavar="MODEL",
    help="Model to use; by default $CNNTK_MODEL, the only float artifact here, or the shipped LeNet.",
)
@option(
    "--top",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of classes to show per image.",
)
@option(
    "--max-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    help="Refuse images with more megapixels than this.",
)
@option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "parquet"]),
    group="Output",
    help="Format of the predictions; json has one object a line. By default a table, or FILE's suffix.",
)
@option(
    "-o", "--output", metavar="FILE", group="Output", help="Write the predictions to FILE, once all are done."
)
@option(
    "--resume",
    is_flag=True,
    group="Output",
    help="Keep finished predictions in FILE.part, and continue from them.",
)
@option("--force", is_flag=True, group="Output", help="Replace an existing FILE.")
@option(
    "--keep-formulas",
    is_flag=True,
    group="Output",
    help="Write CSV cells that begin with =, +, - or @ without the ' that makes them text.",
)
@device_option("Execution")
@option(
    "--threads",
    type=click.IntRange(1, 1024),
    group="Execution",
    help="Number of threads on the CPU; by default all available cores.",
)
@option(
    "--batch",
    type=click.IntRange(1, 65536),
    group="Execution",
    help="Number of images per run; by default 8, on a GPU 32.",
)
@json_option
def infer(
    images: tuple[str, ...],
    model: str | None,
    top: int,
    form: str | None,
    output: str | None,
    resume: bool,
    force: bool,
    keep_formulas: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Classify images.

    IMAGE is an image file, a folder, a glob pattern, or - for standard input. Exits with 1 if an image cannot
    be read.
    """
    _check_options(form, output, resume=resume, force=force, as_json=as_json)
    if keep_formulas and form != "csv" and (form is not None or not str(output).lower().endswith(".csv")):
        raise click.UsageError("--keep-formulas belongs to --format csv")
    path = pick(model)
    from cnntk.inference import LeftOutFiles, expand
    from cnntk.inference import infer as classify

    left_out = LeftOutFiles()
    files = expand(images, left_out)
    options = {name: value for name, value in options.items() if value is not None}
    options["limit_name"] = "--max-megapixels"
    passing = output is None and form in ("json", "csv") and sys.stdout.isatty()  # that is progress enough
    bar = ProgressLine(
        "images", lambda: sum(1 for _ in expand(images)), wanted=not passing and not is_quiet()
    )
    if output is not None:
        options |= {"form": form, "top": top, "resume": resume, "force": force, "progress": bar}
        status = _to_file(path, files, output, options | {"keep_formulas": keep_formulas}, as_json)
    else:
        counts = Counter[str]()
        results = _counted(classify(path, files, **options), bar, counts)
        if as_json:
            status = _print_document(str(path), results, top)
        elif form in (None, "table"):
            status = _print_tables(results, top, bar)
        else:
            status = _print_rows(results, str(form), top, keep_formulas)
        if counts["failed"] and counts["images"] > 1:
            problem(f"cnntk: {counts['failed']:,} of {counts['images']:,} images could not be read")
    if text := str(left_out):
        note(f"note: {text}")
    return status


def _check_options(form: str | None, output: str | None, *, resume: bool, force: bool, as_json: bool) -> None:
    if output is None and (resume or force):
        raise click.UsageError(f"--{'resume' if resume else 'force'} needs --output FILE")
    if output is None and form == "parquet":
        raise click.UsageError("--format parquet needs --output FILE")
    if output is None and as_json and form not in (None, "json"):
        raise click.UsageError(f"--json prints one JSON document, --format {form} does not: choose one")
    if output is not None and form == "table":
        raise click.UsageError("--format table does not go with --output; use json, csv or parquet")


def _to_file(
    model: Any, files: Iterable[str | ImageResult], output: str, options: dict[str, Any], as_json: bool
) -> int:
    from cnntk.inference import infer_to_file

    try:
        with options["progress"]:
            done = infer_to_file(model, files, output, **options)
    except KeyboardInterrupt:
        if options["resume"]:
            note(f"{output}.part: holds the finished predictions; the same command continues from them")
        raise
    if as_json:
        print_json(done)
    else:
        before = f", {done.resumed:,} of them by an earlier run" if done.resumed else ""
        note(f"wrote {done.path}: {done.images:,} images{before}")
    if done.failed:
        problem(f"cnntk: {done.failed:,} of {done.images:,} images could not be read; their rows say why")
    return int(done.failed > 0)


def _counted(
    results: Iterable[ImageResult], bar: ProgressLine, counts: Counter[str]
) -> Iterator[ImageResult]:
    with bar:
        for result in results:
            counts["images"] += 1
            counts["failed"] += result.error is not None
            bar(counts["images"])
            yield result


def _print_document(model: str, results: Iterable[ImageResult], top: int) -> int:
    rows = [result.row(top) for result in results]
    print_json({"model": model, "results": rows})
    return int(any("error" in row for row in rows))


def _print_rows(results: Iterable[ImageResult], form: str, top: int, keep_formulas: bool) -> int:
    from cnntk.inference.rows import CsvRows, JsonRows

    failed = False
    csv = CsvRows(sys.stdout, top, keep_formulas=keep_formulas) if form == "csv" else None
    writer = csv or JsonRows(sys.stdout)
    for result in results:
        failed |= result.error is not None
        writer.write(result.row(top))
        sys.stdout.flush()
    return int(failed)


def _print_tables(results: Iterator[ImageResult], top: int, bar: ProgressLine) -> int:
    failed = False
    header: list[_Cells] = [("image", "class", "prob", "next best" if top > 1 else "")]
    widths = (0, 0, 0)
    while page := list(islice(results, _PAGE)):
        bar.hide()
        if rows := [_cells(r.file, r.predictions, top) for r in page if r.predictions]:
            rows = [_padded(cells, widths) for cells in header + rows]
            print_table(rows, right=[2])
            header, widths = [], _widths(rows)
        for result in page:
            if result.error:
                problem(f"cnntk: {result.error}")
                failed = True
        _print_notes(page)
    return int(failed)


def _cells(file: str, predictions: Predictions, top: int) -> _Cells:
    from cnntk.runtime.images.reading import source_name

    best, *rest = predictions.top(top)
    others = ", ".join(f"{p.label} {p.probability:.1%}" for p in rest)
    return shown(source_name(file)), shown(best.label), f"{best.probability:.1%}", shown(others)


def _padded(cells: _Cells, widths: tuple[int, int, int]) -> _Cells:
    """Cells at least as wide as on the page before."""
    file, label, probability, others = cells
    return file.ljust(widths[0]), label.ljust(widths[1]), probability.rjust(widths[2]), others


def _widths(rows: list[_Cells]) -> tuple[int, int, int]:
    return max(len(r[0]) for r in rows), max(len(r[1]) for r in rows), max(len(r[2]) for r in rows)


def _print_notes(page: list[ImageResult]) -> None:
    """Notes on the decoding of the first few images that have any."""
    from cnntk.runtime.images.reading import source_name

    noted = [result for result in page if result.notes]
    for result in noted[:_NOTES]:
        note(f"note: {source_name(result.file)}: {', '.join(result.notes)}")
    if len(noted) > _NOTES:
        note(f"note: {len(noted) - _NOTES} more images have notes")
