"""MLPerf's scenarios SingleStream, MultiStream, Server and Offline for a classifier, by its load generator.

pip install 'cnntk[cpu]' mlcommons-loadgen
python examples/mlperf.py [MODEL] [--scenario Server --qps 500] [--images FOLDER] [--seconds 5]

The rules are those of image classification (MLPerf's ``resnet50``): what is sent when, and what a valid
result is. Valid results take 10 minutes (``--seconds 600``). FOLDER has a folder of images for each class;
its images are sent instead of noise, and all of them once more to measure the accuracy. The model
preprocesses images in its graph, as ``cnntk export`` writes it. See
https://github.com/mlcommons/inference/tree/master/loadgen.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg
import numpy as np

from cnntk.runtime import BatchingEngine, Classifier, Pixels
from cnntk.shipped import shipped_model

SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
SAMPLES = 1024
"""Number of different samples, MLPerf's minimum."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", nargs="?", type=Path, default=Path(shipped_model()))
    parser.add_argument("--scenario", choices=SCENARIOS, default="SingleStream")
    parser.add_argument("--seconds", type=float, default=5.0, help="time limit; valid results need 600")
    parser.add_argument("--qps", type=float, default=1.0, help="queries per second of Server")
    parser.add_argument("--batch", type=int, default=32, help="largest number of images that run together")
    parser.add_argument("--threads", type=int, help="number of CPU threads")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="images, in a folder per class")
    options = parser.parse_args()
    classifier = Classifier(options.model, threads=options.threads)
    paths = sorted(options.images.glob("*/*")) if options.images else []
    images = [classifier.read(path) for path in paths] or noise(classifier)
    system = System(classifier, images, options.scenario, options.batch)
    settings = rules(options.scenario, options.seconds, options.qps, system)
    print(run(system, settings)[0])
    if paths:
        settings.mode = lg.TestMode.AccuracyOnly
        settings.max_duration_ms = 0
        _, answers = run(system, settings)
        correct = sum(classifier.labels[answers[i]] == path.parent.name for i, path in enumerate(paths))
        print(f"Accuracy: {correct / len(paths):.2%} of {len(paths)} images")


def noise(classifier: Classifier) -> list[Pixels]:
    """Different images of the model's input size."""
    sizes = classifier.engine.image_sizes
    shape = (SAMPLES, *(sizes[name] for name in ("H", "W", "C")))
    return list(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def rules(scenario: str, seconds: float, qps: float, system: System) -> Any:
    """MLPerf's settings for image classification, with a time limit.

    The load generator makes its queries before the test, as many as it expects for 10 minutes.
    """
    settings = lg.TestSettings()
    if settings.FromConfig("", "resnet50", scenario, 0):
        sys.exit("this mlcommons-loadgen has no settings; run: pip install --upgrade mlcommons-loadgen")
    settings.scenario = getattr(lg.TestScenario, scenario)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.server_target_qps = qps
    count = min(settings.performance_sample_count_override, len(system.images))
    settings.performance_sample_count_override = count
    expected_s = system.run_s() * max(1.0, 600 / seconds)
    settings.single_stream_expected_latency_ns = int(1e9 * expected_s)
    settings.multi_stream_expected_latency_ns = int(8e9 * expected_s)
    settings.offline_expected_qps = 1 / expected_s
    if seconds < 600:
        settings.max_duration_ms = int(1e3 * seconds)
    return settings


class System:
    """The system under test: one image at once runs directly, several are batched."""

    def __init__(
        self, classifier: Classifier, images: Sequence[Pixels], scenario: str, max_batch: int
    ) -> None:
        self.images, self._engine = images, classifier.engine
        self._input = classifier.engine.inputs[0].name
        self._direct = scenario == "SingleStream"
        self._batching = BatchingEngine(
            classifier.engine, max_batch=max_batch, max_wait_ms=0, max_queue=1_000_000
        )

    def run_s(self) -> float:
        """Seconds that one image takes: median of 10 runs."""
        times = []
        for image in (self.images[0],) * 10:
            start = time.perf_counter()
            self._engine.run({self._input: image[None]})
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def issue(self, queries: Sequence[Any]) -> None:
        """Answers queries of one image each, now or when their batch has run."""
        for query in queries:
            arrays = {self._input: self.images[query.index][None]}
            if self._direct:
                complete(query, self._engine.run(arrays))
            else:
                self._batching.submit(arrays).add_done_callback(partial(self._completed, query))

    @staticmethod
    def _completed(query: Any, future: Future[dict[str, Any]]) -> None:
        exit_on_error(lambda: complete(query, future.result()))


def complete(query: Any, outputs: dict[str, Any]) -> None:
    """Hands the number of the class back to the load generator."""
    best = np.array([outputs["probabilities"][0].argmax()], np.int64)
    lg.QuerySamplesComplete([lg.QuerySampleResponse(query.id, best.ctypes.data, best.nbytes)])


def run(system: System, settings: Any) -> tuple[str, dict[int, int]]:
    """Runs a test: the load generator's summary, and in accuracy mode the class of each image."""
    count = len(system.images)
    with tempfile.TemporaryDirectory() as folder:
        output, logs = lg.LogOutputSettings(), lg.LogSettings()
        output.outdir = folder
        logs.log_output, logs.enable_trace = output, False
        sut = lg.ConstructSUT(lambda queries: exit_on_error(partial(system.issue, queries)), nothing)
        samples = min(count, settings.performance_sample_count_override)
        library = lg.ConstructQSL(count, samples, nothing, nothing)
        lg.StartTestWithLogSettings(sut, library, settings, logs)
        lg.DestroyQSL(library)
        lg.DestroySUT(sut)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
        text = (Path(folder) / "mlperf_log_accuracy.json").read_text(encoding="utf-8")
    rows = json.loads(text) if text.strip() else []
    return summary, {
        row["qsl_idx"]: int(np.frombuffer(bytes.fromhex(row["data"]), np.int64)[0]) for row in rows
    }


def nothing(*arguments: Any) -> None:
    """Callback for samples that stay in memory, and for queries that are never held back."""


def exit_on_error(call: Callable[[], None]) -> None:
    """The load generator calls from C++, where an exception would end the process without a message."""
    try:
        call()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    main()
