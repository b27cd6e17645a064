"""``cnntk bench``."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.options import json_option
from cnntk.cli.output import note, print_json

if TYPE_CHECKING:
    from cnntk.benchmark.regression import Baseline, BaselineNote, CaseVerdict
    from cnntk.benchmark.result import BenchResult
    from cnntk.benchmark.run import Load

_SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")


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
                 help="Images a run, by default 1, in scenarios at most 32. Several are swept over."),
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
    click.option("--scenario", "scenarios", multiple=True, type=click.Choice(_SCENARIOS),
                 help="By MLPerf's load generator; may be repeated."),
    click.option("--full", is_flag=True, help="Scenarios as long as MLPerf wants them: 10 minutes."),
    click.option("--qps", type=_POSITIVE, callback=_finite,
                 help="Queries a second of Server; without it, MLPerf's placeholder of 1."),
    click.option("--labeled-images", "labeled", metavar="FOLDER",
                 help="Scenarios send its images and tell their accuracy: a folder per class or labels.csv."),
    click.option("--save", metavar="FILE", help="Keep the latency, to compare with later."),
    click.option("--compare", metavar="FILE", help="With what --save kept."),
    click.option("--fail-above", callback=_percent, metavar="PERCENT",
                 help="With --compare: exit 1 if a run surely takes longer by more than this, twice."),
    click.option("--allow-other-machine", "other_machine", is_flag=True,
                 help="Compare with another machine all the same."),
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
def bench(model: str | None, **given: Any) -> None:
    """Measure how fast MODEL answers."""
    from cnntk.benchmark.latency import SESSIONS
    from cnntk.benchmark.run import bench as measure
    from cnntk.cli.bench_checks import check_options, check_outputs
    from cnntk.shipped.model_choice import pick_model

    check_options(given)
    images = _images(given)
    base = _baseline(given) if given["compare"] else None
    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    check_outputs(given, picked.path)
    if base is not None:
        _check_settings(base, picked.path, given)
    result = measure(
        picked.path,
        device=given["device"],
        threads=given["threads"],
        batch=given["batch"],
        seconds=given["seconds"],
        layers=given["layers"] or bool(given["report"] or given["plots"]),
        images=images,
        against=given["against"],
        weights=given["weights"],
        random=given["random"],
        scenarios=given["scenarios"],
        load=_load(given, picked.path),
        sessions=SESSIONS if given["save"] or given["compare"] else 0,
        progress=_progress(),
    )
    verdicts = _verdicts(result, base, given)
    saved = _saved(result, verdicts, given)
    _print(result, verdicts, _noted(base, result, given), given)
    if saved:
        note(saved)
    if given["fail_above"] is not None and any(verdict.regressed for verdict in verdicts):
        raise click.exceptions.Exit(1)


def _images(given: dict[str, Any]) -> tuple[str, ...] | None:
    """Files; none of them for made ones, and None where nothing is measured end to end."""
    from cnntk.benchmark.stages import image_files

    if given["images"]:
        return image_files(given["images"])
    return () if given["end_to_end"] else None


def _baseline(given: dict[str, Any]) -> Baseline:
    from cnntk.benchmark.machine import machine
    from cnntk.benchmark.regression import check_machine, load_baseline

    base = load_baseline(given["compare"])
    check_machine(base, machine(), other_machine=given["other_machine"])
    return base


def _check_settings(base: Baseline, model: Path, given: dict[str, Any]) -> None:
    """As they will be, once the model is loaded on the device."""
    from cnntk.benchmark.inputs import chosen_batch
    from cnntk.benchmark.machine import machine
    from cnntk.benchmark.regression import check_comparable
    from cnntk.runtime.engine import Engine

    engine = Engine(model, given["device"], threads=given["threads"][0] if given["threads"] else None)
    batch = chosen_batch(engine, given["batch"] or ())
    settings: dict[str, Any] = {"device": engine.device, "threads": engine.threads, "batch": batch}
    here = machine(engine.device)
    check_comparable(base, here, {"latency": settings}, other_machine=given["other_machine"])


def _load(given: dict[str, Any], model: Any) -> Load | None:
    from cnntk.benchmark.run import Load

    if not given["scenarios"]:
        return None
    if "Server" in given["scenarios"] and given["qps"] is None:
        note("Server without --qps sends 1 query a second, MLPerf's placeholder; say what you expect")
    labeled = None
    if given["labeled"]:
        from cnntk.data.labeled import labeled_files
        from cnntk.runtime import Engine

        spec = Engine(model).spec
        labeled = labeled_files(given["labeled"], spec.labels if spec is not None else ())
    return Load(None if given["full"] else given["seconds"], given["qps"], labeled)


def _progress() -> Callable[[str], None]:
    if not sys.stderr.isatty():
        return lambda what: None
    return lambda what: print(f"\r\x1b[Kmeasuring {what} ...", end="", file=sys.stderr, flush=True)


def _verdicts(result: BenchResult, base: Baseline | None, given: dict[str, Any]) -> tuple[CaseVerdict, ...]:
    from cnntk.benchmark.confirming import regressed_twice
    from cnntk.benchmark.regression import Baseline

    if base is None:
        return ()
    now = Baseline.of(result.machine, result.cases)
    bound, other = given["fail_above"], given["other_machine"]
    return regressed_twice(base, now, result.model, bound, other_machine=other, progress=_progress())


def _saved(result: BenchResult, verdicts: tuple[CaseVerdict, ...], given: dict[str, Any]) -> str:
    """What became of ``--save``: a baseline stays where a run that failed by it would take its place."""
    from cnntk.benchmark.regression import Baseline, save_baseline, why_keep
    from cnntk.cli.bench_checks import same_file

    if not given["save"]:
        return ""
    judge = given["compare"] and same_file(Path(given["save"]), Path(given["compare"]))
    if judge and (why := why_keep(verdicts)):
        return f"kept: {given['save']} as it was, since {why}; to accept this run, --save it by another name"
    save_baseline(given["save"], Baseline.of(result.machine, result.cases))
    return f"saved: {given['save']}"


def _noted(base: Baseline | None, result: BenchResult, given: dict[str, Any]) -> BaselineNote | None:
    from cnntk.benchmark.regression import BaselineNote

    return None if base is None else BaselineNote.of(given["compare"], base, result.machine)


def _print(
    result: BenchResult,
    verdicts: tuple[CaseVerdict, ...],
    baseline: BaselineNote | None,
    given: dict[str, Any],
) -> None:
    from cnntk.cli.bench_text import print_bench

    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if given["as_json"]:
        compared = [verdict.to_json() for verdict in verdicts]
        print_json({**result.to_json(), "baseline": baseline and baseline.to_json(), "compared": compared})
    else:
        print_bench(result, verdicts, baseline)
    if given["report"]:
        from cnntk.reports import write_bench_report

        write_bench_report(result, given["report"], verdicts, baseline)
        note(f"report: {given['report']}")
    if given["plots"]:
        from cnntk.reports import write_plots

        for path in write_plots(result, given["plots"], given["plot_format"], verdicts):
            note(f"plot: {path}")
