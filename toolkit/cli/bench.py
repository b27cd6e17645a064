"""``cnntk bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnntk.cli.output import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from cnntk.latency import BenchResult


@click.command()
@click.argument("model", required=False)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or auto.")
@click.option("--threads", type=click.IntRange(1, 1024), help="On the CPU; by default all that may be used.")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(min=1), help="Images a run.")
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
              help="How long to count.")  # fmt: skip
@json_option
def bench(
    model: str | None, device: str, threads: int | None, batch: int, seconds: float, as_json: bool
) -> None:
    """Measure how fast MODEL answers."""
    from cnntk.latency import bench as measure
    from cnntk.picking import pick_model

    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    result = measure(picked.path, device=device, threads=threads, batch=batch, seconds=seconds)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result)


def _print(r: BenchResult) -> None:
    threads = f", {r.threads} thread{'s' * (r.threads > 1)}" if r.device == "cpu" else ""
    print(f"{r.model} on {r.device}{threads}, batch {r.batch}")
    p99 = f"{r.p99_ms:.3f} ms" if r.p99_ms is not None else f"(needs 1,000 runs, had {r.runs:,})"
    print_table(
        [
            ("latency p50", f"{r.p50_ms:.3f} ms"),
            ("        p90", f"{r.p90_ms:.3f} ms"),
            ("        p99", p99),
            ("throughput", f"{r.images_per_second:,.1f} images/s"),
            ("first run", f"{r.first_run_ms:.3f} ms"),
            ("runs", f"{r.runs:,} after {r.warm_up_runs:,} to warm up"),
        ]
    )
