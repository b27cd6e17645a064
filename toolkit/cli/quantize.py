"""``cnntk quantize``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.export import key_values
from cnntk.cli.output import json_option, note, print_json, print_table, size_text
from cnntk.cli.progress import Bar

if TYPE_CHECKING:
    from cnntk.quantization.report import LayerRow, QuantizePreview, QuantizeReport

_WIDTH = 80
_INTERRUPTED = 130


@click.command()
@click.argument("model", required=False)
@click.option("--calibration", required=True, metavar="DATA",
              help="Images: digits, mnist:DIR, cifar10:DIR, folder:DIR, or a bare folder.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="By default the model's name with -int8, here.")
@click.option("--max-drop", default=0.5, show_default=True, type=click.FloatRange(0, 100),
              help="Of top-1, in points; without labels what flips cost.")  # fmt: skip
@click.option("--target", type=click.Choice(["any", "vnni"]), default="any", show_default=True,
              help="The same answers on every CPU, or on those with VNNI.")  # fmt: skip
@click.option("--prefer", type=click.Choice(["speed", "size"]), default="speed", show_default=True,
              help="The fastest, never slower than MODEL; or the smallest.")  # fmt: skip
@click.option("--evaluation", metavar="DATA", help="Judge by these; by default what DATA holds out.")
@click.option("--limit", type=click.IntRange(min=1), help="Images to calibrate with; 512 by default.")
@click.option("--threads", type=click.IntRange(1, 1024), help="To time with; by default all there are.")
@click.option("--image", metavar="K=V", multiple=True,
              help="For another .onnx: how images become its input, as export takes it.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be tried, and how long it would take.")
@click.option("--resume", metavar="FOLDER", help="Keep what is measured there, and go on from it.")
@click.option("--report", metavar="FILE", help="Write what was tried as a page, to open in a browser.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
def quantize(
    model: str | None,
    calibration: str,
    image: tuple[str, ...],
    limit: int | None,
    dry_run: bool,
    resume: str | None,
    report: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Make MODEL smaller and faster, its accuracy within a bound.

    Every candidate is compared with MODEL on images that it was not calibrated with, and timed beside it.
    What would be slower stays as it was. Ctrl-C keeps the best so far.
    """
    from cnntk.quantization.pipeline import LIMIT, preview_quantize
    from cnntk.quantization.pipeline import quantize as quantize_model
    from cnntk.runtime.files import check_writable
    from cnntk.shipped.model_choice import pick_model

    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    options |= {"limit": limit or LIMIT, "image": key_values("--image", image)}
    if report:
        check_writable(Path(report))
    if dry_run:
        if report or resume:
            raise click.UsageError("--dry-run measures nothing: leave out --report and --resume")
        _show(preview_quantize(picked.path, calibration, **options), as_json)
        return 0
    with _Progress() as progress:
        done = quantize_model(
            picked.path,
            calibration,
            work_folder=resume,
            time_layers=bool(report),
            progress=progress,
            **options,
        )
    if report:
        from cnntk.reports import write_quantize_report

        write_quantize_report(done.to_json(), report)
        note(f"report: {report}")
    if as_json:
        print_json(done.to_json())
    else:
        print_table(_rows(done))
    for text in (*done.warnings, *done.notes):
        note(f"note: {text}")
    return _INTERRUPTED if done.interrupted else 0


class _Progress:
    """A bar for each thing that takes longer than a second; a context manager."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._hide()
            self._what, self._bar = what, Bar(what, lambda: total) if total else None
        if self._bar is not None:
            self._bar(done)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._hide()

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.hide()


def _show(found: QuantizePreview, as_json: bool) -> None:
    if as_json:
        print_json(found.to_json())
    else:
        print_table(_preview_rows(found))


def _rows(r: QuantizeReport) -> Iterator[tuple[str, str]]:
    wrote = f"{r.path} ({size_text(r.size_bytes)})"
    yield from _under("wrote", [wrote if r.changed else f"{wrote}: {r.setting.source} as it was"])
    yield from _under("why", [r.reason])
    if r.accuracy is not None:
        yield from _under("accuracy", [str(r.accuracy)])
    if r.race is not None:
        yield from _under(
            "time",
            [
                f"{r.race.first_ms:.3f} -> {r.race.second_ms:.3f} ms, {r.race.ratio:.2f} times as fast "
                f"({r.race.low:.2f} to {r.race.high:.2f}), {_threads(r.setting.threads)}"
            ],
        )
    if r.changed:
        share = r.size_bytes / r.original_size_bytes
        sizes = f"{size_text(r.original_size_bytes)} -> {size_text(r.size_bytes)}"
        yield from _under("size", [f"{sizes}, {share:.2f} of it"])
        yield from _under("holds on", [r.holds_on])
    yield from _under("layers", [_kinds(r.layers)])
    yield from _under("in float", _kept(r.layers))
    tried = f"{len(r.path_steps)} candidate{'s' * (len(r.path_steps) != 1)}"
    yield from _under("tried", [f"{tried} in {r.seconds:.1f} s"])


def _preview_rows(p: QuantizePreview) -> Iterator[tuple[str, str]]:
    setting = p.setting
    kind = "labeled images" if p.labeled else "images without labels"
    yield from _under("would write", [p.path])
    yield from _under("calibration", [f"{setting.calibration_images:,} images of {setting.calibration}"])
    yield from _under("judged by", [f"{p.evaluation_images:,} {kind}, {setting.max_drop:g} points allowed"])
    yield from _under("first try", [_kinds(p.layers)])
    yield from _under("in float", _kept(p.layers))
    yield from _under("original", [f"{p.original_ms:.3f} ms an image, {_threads(setting.threads)}"])
    yield from _under("would take", [f"{_duration(p.least_seconds)} to {_duration(p.most_seconds)}"])


def _under(title: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The title stands beside the first line; long ones are wrapped."""
    room = _WIDTH - 13
    wrapped = [part for line in lines for part in textwrap.wrap(line, room, subsequent_indent="  ")]
    for i, part in enumerate(wrapped):
        yield (title if i == 0 else "", part)


def _kinds(layers: Iterable[LayerRow]) -> str:
    names: dict[str, list[str]] = {}
    for layer in layers:
        names.setdefault(layer.kind, []).append(layer.title)
    return "; ".join(f"{len(found)} {kind}: {', '.join(found)}" for kind, found in sorted(names.items()))


def _kept(layers: Iterable[LayerRow]) -> list[str]:
    """Why layers are in float32."""
    return [f"{x.title}: {x.reason or 'as it was'}" for x in layers if x.kind == "float32"]


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
