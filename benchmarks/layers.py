"""What each layer costs, and whether the layers add up to a run without profiler.

python benchmarks/layers.py                 LeNet, AlexNet, VGG-11, NiN, and a ResNet-50 of transformers
python benchmarks/layers.py MODEL.onnx ...
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import duration, options, print_table

from cnntk.benchmark.layers.report import LayerReport, LayerTime, layer_times
from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import CnntkError

NETWORKS = ("lenet", "alexnet", "vgg11", "nin", "transformers:resnet")
SUMS = ("network", "layers", "a run", "unaccounted", "million multiply-adds")
COLUMNS = ("layer", "time", "share", "million multiply-adds", "10^9 a second", "GB/s", "limit", "of it")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    args = parser.parse_args()
    names, seconds = (NETWORKS[:1], 0.5) if args.quick else (NETWORKS, 20.0)
    with tempfile.TemporaryDirectory() as folder:
        models = args.models or exported(names, Path(folder))
        reports = {model.stem: layer_times(Workload(model, seconds=seconds)) for model in models}
    print("The sum of the layers compared with a run without profiler, interleaved in one process.\n")
    print_table((summary(name, report) for name, report in reports.items()), SUMS)
    for name, report in reports.items():
        print(f"<details><summary>{name}, {report.threads} threads, {report.runs} runs</summary>\n")
        print_table(map(line, report.rows), COLUMNS)
        for finding in report.findings:
            print(f"- {finding}")
        print("\n</details>\n")


def exported(names: Sequence[str], folder: Path) -> Iterator[Path]:
    """Each network with random weights, which cost what trained ones do."""
    from cnntk.exporters import export

    for name in names:
        path = folder / f"{name.rpartition(':')[2]}.onnx"
        try:
            export(name, output=path, random=True)
        except CnntkError as error:
            print(f"{name}: left out: {error}\n")
            continue
        yield path


def line(row: LayerTime) -> tuple[str, ...]:
    rates = ("" if rate is None else f"{rate:.1f}" for rate in (row.gmacs_per_s, row.gb_per_s))
    distance = "" if row.limit_fraction is None else f"{row.limit_fraction:.0%}"
    multiply_adds = f"{row.multiply_adds / 1e6:.2f}"
    return (
        row.name,
        duration(row.time_ms),
        f"{row.share:.1%}",
        multiply_adds,
        *rates,
        row.limit or "",
        distance,
    )


def summary(name: str, report: LayerReport) -> tuple[str, ...]:
    times = (duration(report.sum_ms), duration(report.run_ms))
    return name, *times, f"{report.unaccounted_share:+.1%}", f"{report.multiply_adds / 1e6:.2f}"


if __name__ == "__main__":
    main()
