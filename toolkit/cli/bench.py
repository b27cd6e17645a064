"""``cnntk bench``."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.options import json_option
from cnntk.cli.output import note, print_json
from cnntk.runtime.codec import as_json

if TYPE_CHECKING:
    from cnntk.benchmark.result import BenchResult


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """``1,8,32``."""
    if value is None:
        return None
    try:
        found = tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r}: expected numbers with commas between, like 1,8,32", ctx, param
        ) from error
    if min(found) < 1 or len(set(found)) < len(found):
        raise click.BadParameter(f"{value!r}: expected different numbers of 1 or more", ctx, param)
    return found


def _percent(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """``5%`` or ``5``."""
    if value is None:
        return None
    try:
        found = float(value.removesuffix("%"))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: expected a percentage, like 5%", ctx, param) from error
    if not 0 <= found < float("inf"):
        raise click.BadParameter(f"{value!r}: expected 0 % or more", ctx, param)
    return found


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """NaN passes a range, as it is neither less nor more."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value}: expected a positive number", ctx, param)
    return value


_POSITIVE = click.FloatRange(min=0, min_open=True)

_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.argument("model", required=False),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or auto."),
    click.option("--threads", callback=_numbers, metavar="N[,N...]",
                 help="On the CPU; by default what suits the model. Several are swept over."),
    click.option("--batch", callback=_numbers, metavar="N[,N...]",
                 help="Images a run, by default 1. Several are swept over."),
    click.option("--seconds", default=3.0, show_default=True, type=_POSITIVE, callback=_finite,
                 help="For each kind of measurement."),
    click.option("--layers", is_flag=True, help="Time layer by layer, and how far each is from the limit."),
    click.option("--end-to-end", is_flag=True, help="From file to label: read, decode, preprocess, run."),
    click.option("--image", "images", multiple=True, metavar="IMAGE",
                 help="End to end with this file, or those of a folder; may be repeated."),
    click.option("--against", multiple=True, metavar="OTHER",
                 help="In turn with OTHER: a .onnx, torch, torch:SOURCE or openvino; may be repeated."),
    click.option("--weights", metavar="FILE", help="Of --against torch:SOURCE, if it has none of its own."),
    click.option("--random", is_flag=True, help="Random weights for --against torch:SOURCE."),
    click.option("--save", metavar="FILE", help="Save the latency, to compare with later."),
    click.option("--compare", "baseline", metavar="FILE", help="Compare with a baseline written by --save."),
    click.option("--fail-above", callback=_percent, metavar="PERCENT",
                 help="With --compare: exit 1 if a run surely takes longer by more than this, twice."),
    click.option("--allow-other-machine", is_flag=True, help="Compare with a baseline of another machine."),
    click.option("--report", metavar="FILE", help="Write a page to open in a browser; adds --layers."),
    click.option("--plots", metavar="FOLDER", help="Write the report's plots as files."),
    click.option("--plot-format", type=click.Choice(["svg", "png"]), default="svg", show_default=True),
    json_option,
)  # fmt: skip


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@_with_options
def bench(model: str | None, **values: Any) -> None:
    """Measure how fast MODEL answers."""
    from cnntk.benchmark.options import BenchOptions
    from cnntk.benchmark.run import bench as measure
    from cnntk.cli.bench_checks import check_options, check_outputs
    from cnntk.shipped.model_choice import pick_model

    output = {name: values.pop(name) for name in ("report", "plots", "plot_format", "as_json")}
    options = BenchOptions(
        **{**values, "layers": values["layers"] or bool(output["report"] or output["plots"])}
    )
    check_options(output)
    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    check_outputs(options, output, picked.path)
    result = measure(picked.path, options, progress=_progress())
    _print(result, output)
    if result.saved:
        note(f"saved: {result.saved}")
    if result.regressed:
        raise click.exceptions.Exit(1)


def _progress() -> Callable[[str], None]:
    if not sys.stderr.isatty():
        return lambda what: None
    return lambda what: print(f"\r\x1b[Kmeasuring {what} ...", end="", file=sys.stderr, flush=True)


def _print(result: BenchResult, output: dict[str, Any]) -> None:
    from cnntk.cli.bench_text import print_bench

    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if output["as_json"]:
        print_json(as_json(result))
    else:
        print_bench(result)
    if output["report"]:
        from cnntk.reports import write_bench_report

        write_bench_report(result, output["report"])
        note(f"report: {output['report']}")
    if output["plots"]:
        from cnntk.reports import write_plots

        for path in write_plots(result, output["plots"], output["plot_format"]):
            note(f"plot: {path}")
