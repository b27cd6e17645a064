"""``cnntk infer``."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.options import command, device_option, json_option, labels_option, option, preprocessing_option
from cnntk.cli.output import is_quiet, note, pick, print_json, print_table, problem, shown
from cnntk.cli.progress import ProgressLine
from cnntk.inference.names import check_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cnntk.inference import ImageResult

_PAGE = 1000
"""Number of rows whose columns are aligned together: a table of millions is not held in memory."""

_NOTES = 10

_ARRAY_COLUMNS = ("image", "output", "shape", "dtype", "min", "mean", "max")


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
@preprocessing_option(
    "Options",
    "How an image becomes the input of a MODEL that does not state it: imagenet, imagenet-bicubic, clip, "
    "inception, mnist, cifar10, unit (0 to 1), none (0 to 255), or fields like mean=0.5,std=0.5.",
)
@labels_option("Options")
@option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv", "parquet", "npz"]),
    group="Output",
    help="Format of the results; on standard output json has one object a line, like jsonl; npz has the "
    "model's arrays, an entry an image. By default a table, or FILE's suffix.",
)
@option(
    "-o", "--output", metavar="FILE", group="Output", help="Write the results to FILE, once all are done."
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
    """Classify images, or run another model on them.

    Of a model that is not a classifier, like a detector, shape and statistics of each output are printed, and
    --format npz keeps the arrays. IMAGE is an image file, a folder, a glob pattern, or - for standard input.
    Exits with 1 if an image cannot be read.
    """
    _check_options(form, output, resume=resume, force=force, as_json=as_json)
    if keep_formulas and form != "csv" and (form is not None or not str(output).lower().endswith(".csv")):
        raise click.UsageError("--keep-formulas belongs to --format csv")
    path = pick(model)
    check_names(images)
    from cnntk.inference import LeftOutFiles, expand
    from cnntk.inference import infer as classify

    left_out = LeftOutFiles()
    files = expand(images, left_out)
    options = {name: value for name, value in options.items() if value is not None}
    options |= {"limit_name": "--max-megapixels", "notify": lambda text: note(f"note: {text}")}
    # Lines that pass on a terminal are progress enough.
    passing = output is None and form in ("json", "jsonl", "csv") and sys.stdout.isatty()
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
    if output is None and form in ("parquet", "npz"):
        raise click.UsageError(f"--format {form} needs --output FILE")
    if output is None and as_json and form not in (None, "json", "jsonl"):
        raise click.UsageError(f"--json prints one JSON document, --format {form} does not: choose one")
    if output is not None and form == "table":
        raise click.UsageError("--format table does not go with --output; use json, csv, parquet or npz")


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
    elif done.finished_before:
        note(f"{done.path}: has rows for all {done.images:,} images already; nothing to do")
    else:
        before = f", {done.resumed:,} of them by an earlier run" if done.resumed else ""
        note(f"wrote {done.path}: {done.images:,} images{before}")
    if done.failed:
        problem(f"cnntk: {done.failed:,} of {done.images:,} images could not be read; their entries say why")
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


def _print_rows(results: Iterator[ImageResult], form: str, top: int, keep_formulas: bool) -> int:
    from cnntk.inference.rows import CsvRows, JsonRows

    # The columns of CSV follow from the first image that could be read.
    first = list(_through_first_readable(results)) if form == "csv" else []
    outputs = tuple(first[-1].outputs or ()) if first else ()
    csv = CsvRows(sys.stdout, top, outputs=outputs, keep_formulas=keep_formulas) if form == "csv" else None
    writer, failed = csv or JsonRows(sys.stdout), False
    for result in chain(first, results):
        failed |= result.error is not None
        writer.write(result.row(top))
        sys.stdout.flush()
    return int(failed)


def _through_first_readable(results: Iterator[ImageResult]) -> Iterator[ImageResult]:
    for result in results:
        yield result
        if result.error is None:
            return


def _print_tables(results: Iterator[ImageResult], top: int, bar: ProgressLine) -> int:
    failed = False
    widths: tuple[int, ...] = ()
    while page := list(islice(results, _PAGE)):
        bar.hide()
        if rows := [cells for result in page for cells in _cells(result, top)]:
            is_arrays = len(rows[0]) == len(_ARRAY_COLUMNS)
            columns = (
                _ARRAY_COLUMNS if is_arrays else ("image", "class", "prob", "next best" if top > 1 else "")
            )
            right = (4, 5, 6) if is_arrays else (2,)
            rows = [_padded(cells, widths, right) for cells in (rows if widths else [columns, *rows])]
            print_table(rows, right=right)
            widths = tuple(max(map(len, column)) for column in zip(*rows, strict=True))[:-1]
        for result in page:
            if result.error:
                problem(f"cnntk: {result.error}")
                failed = True
        _print_notes(page)
    return int(failed)


def _cells(result: ImageResult, top: int) -> list[tuple[str, ...]]:
    """The lines of an image: one of its classes, or one for each output."""
    from cnntk.runtime.images.reading import source_name

    name = shown(source_name(result.file))
    if result.predictions is not None:
        best, *rest = result.predictions.top(top)
        others = ", ".join(f"{p.label} {p.probability:.1%}" for p in rest)
        return [(name, shown(best.label), f"{best.probability:.1%}", shown(others))]
    lines = []
    for output, statistics in result.row(top).get("outputs", {}).items():
        shape, dtype, *numbers = statistics.values()
        texts = ("" if value is None else f"{value:.4g}" for value in numbers)
        lines.append((name, shown(output), "x".join(map(str, shape)), dtype, *texts))
    return lines


def _padded(cells: tuple[str, ...], widths: tuple[int, ...], right: tuple[int, ...]) -> tuple[str, ...]:
    """Cells at least as wide as on the page before; the last column has no width."""
    padded = (
        cell.rjust(width) if i in right else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=False))
    )
    return (*padded, *cells[len(widths) :])


def _print_notes(page: list[ImageResult]) -> None:
    """Notes on the decoding of the first few images that have any."""
    from cnntk.runtime.images.reading import source_name

    noted = [result for result in page if result.notes]
    for result in noted[:_NOTES]:
        note(f"note: {source_name(result.file)}: {', '.join(result.notes)}")
    if len(noted) > _NOTES:
        note(f"note: {len(noted) - _NOTES} more images have notes")
