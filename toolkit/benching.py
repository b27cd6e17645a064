"""`bench`: what a model costs where it runs, in figures that a decision can be built on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cnntk.benched import BenchResult, Rivalry
from cnntk.labelled import LabelledFiles
from cnntk.measuring.batches import batch_inputs, fixed_batch
from cnntk.measuring.comparison import compare
from cnntk.measuring.latency import measure_case, measure_latency
from cnntk.measuring.layers import layer_times
from cnntk.measuring.machine import machine
from cnntk.measuring.memory import memory
from cnntk.measuring.opponents import opponents
from cnntk.measuring.scenarios import Scenario, ScenarioResult, measure_scenario
from cnntk.measuring.stages import stages
from cnntk.measuring.start_up import start_up
from cnntk.measuring.sweep import sweep
from cnntk.runtime.digest import sha256_of
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError

__all__ = ["Load", "Progress", "bench"]

Progress = Callable[[str], None]
"""Is told what is measured next."""


@dataclass(frozen=True)
class Load:
    """What scenarios are measured with.

    Attributes:
        seconds: to stop after; None for MLPerf's 10 minutes, without which no result is valid.
        queries_per_second: of Server.
        labelled: images that are sent, by which the accuracy is told; None for seeded noise.
    """

    seconds: float | None = None
    queries_per_second: float | None = None
    labelled: LabelledFiles | None = None


def bench(
    model: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | Sequence[int] | None = None,
    batch: int | Sequence[int] | None = None,
    seconds: float = 3.0,
    first_answer: bool = True,
    layers: bool = False,
    images: Sequence[str | os.PathLike[str] | bytes] | None = None,
    against: Sequence[str] = (),
    scenarios: Sequence[Scenario] = (),
    load: Load | None = None,
    sessions: int = 0,
    progress: Progress | None = None,
) -> BenchResult:
    """Measures one model.

    Args:
        model: an ``.onnx`` file.
        device: as `Engine` takes it.
        threads: as `Engine` takes it; of several, all are swept over, and the first is used for the rest.
        batch: images a run, by default 1 or the model's fixed batch; of several, as with threads.
        seconds: for each kind of measurement that was asked for.
        first_answer: time to the first answer and memory, in processes of their own.
        layers: the time of each layer, and its distance to the machine's limits.
        images: end to end, from these files or bytes to labels; an empty sequence takes made ones.
        against: others to be measured in turn with the model, as
            `cnntk.measuring.opponents.opponents` takes them.
        scenarios: MLPerf's.
        load: of the scenarios; by default seeded noise, for ``seconds``, which MLPerf takes for too short.
        sessions: processes in which latency is measured for a baseline; 0 for none.
        progress: is told what is measured.

    Raises:
        UsageError: an argument does not fit the model.
        MissingDependency: something that was asked for needs a package that is not installed.
        CnntkError: the model can't be loaded or run there.
    """
    told = progress or (lambda what: None)
    all_threads, batches = _several(threads, "threads"), _several(batch, "batch")
    engine = Engine(model, device, threads=all_threads[0] if all_threads else None)
    first, size = engine.threads, batches[0] if batches else fixed_batch(engine) or 1
    rivalries = tuple(_against(engine, size, against, seconds, told))
    told("latency")
    latency = measure_latency(model, device=device, threads=first, batch=size, seconds=seconds)
    shapes = [b for b in batches if b != size]
    starting = remembered = times = swept = way = None
    if first_answer:
        told("time to the first answer")
        starting = start_up(model, device=device, threads=first, batches=[size, *shapes], processes=2)
        told("memory")
        remembered = memory(model, device=device, threads=first, batch=size)
    if layers:
        told("layers")
        times = layer_times(model, device=device, threads=first, batch=size, seconds=seconds)
    if len(all_threads) > 1 or len(batches) > 1:
        told("batches and threads")
        counts, sizes = all_threads or (first,), batches or (size,)
        swept = sweep(model, batches=sizes, threads=counts, device=device, seconds=2 * seconds)
    if images is not None:
        told("end to end")
        way = stages(model, images, device=device, threads=first, seconds=seconds)
    met = []
    for scenario in scenarios:
        told(scenario)
        met.append(_scenario(model, scenario, device, first, load or Load(seconds=seconds)))
    cases = {}
    if sessions:
        told(f"latency, in {sessions} processes")
        cases["latency"] = measure_case(
            model, device=device, threads=first, batch=size, seconds=seconds, sessions=sessions
        )
    spec, file = engine.spec, Path(model)
    return BenchResult(
        model=os.fspath(model),
        name=spec.name if spec is not None else file.stem,
        sha256=sha256_of(file),
        size_bytes=file.stat().st_size + (spec.data.size_bytes if spec is not None and spec.data else 0),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        latency=latency,
        start_up=starting,
        memory=remembered,
        layers=times,
        sweep=swept,
        stages=way,
        against=rivalries,
        scenarios=tuple(met),
        cases=cases,
    )


def _scenario(
    model: str | os.PathLike[str], scenario: Scenario, device: str, threads: int, load: Load
) -> ScenarioResult:
    qps = load.queries_per_second if scenario == "Server" else None
    return measure_scenario(
        model,
        scenario,
        device=device,
        threads=threads,
        seconds=load.seconds,
        target_qps=qps,
        files=load.labelled,
    )


def _several(given: int | Sequence[int] | None, what: str) -> tuple[int, ...]:
    values = () if given is None else (given,) if isinstance(given, int) else tuple(given)
    if any(value < 1 for value in values) or len(set(values)) < len(values):
        raise UsageError(f"{what} {', '.join(map(str, values))}: expected different numbers of 1 or more")
    return values


def _against(
    engine: Engine, batch: int, names: Sequence[str], seconds: float, told: Progress
) -> Iterator[Rivalry]:
    inputs = batch_inputs(engine, batch)
    for name in names:
        told(f"against {name}")
        with opponents(name, engine, inputs) as found:
            for opponent in found:
                call = opponent.call
                faced = None
                if call is not None:
                    faced = compare(call, lambda: engine.run(inputs), seconds=2 * seconds)
                yield Rivalry(opponent, faced)
