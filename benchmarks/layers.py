"""What each layer costs, and whether the layers add up to a run without profiler.

python benchmarks/layers.py                 LeNet, AlexNet, VGG-11, NiN, and a ResNet-50 of transformers
python benchmarks/layers.py MODEL.onnx ...
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cnntk.measuring.layers import LayerReport, LayerRow, layer_times
from cnntk.runtime.errors import CnntkError

NETWORKS = ("lenet", "alexnet", "vgg11", "nin", "transformers:resnet")
SECONDS = 6.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = [Path(name) for name in sys.argv[1:]] or exported(Path(folder))
        sums = []
        for model in models:
            report = layer_times(model, seconds=SECONDS)
            print(f"\n{model.stem}, {report.threads} threads, {report.runs} runs")
            for row in report.rows:
                print(line(row))
            for finding in report.findings:
                print(f"note: {finding}")
            sums.append(summary(model.stem, report))
    print("\n" + "\n".join(sums))


def exported(folder: Path) -> Iterator[Path]:
    """Each network with random weights, which cost what trained ones do."""
    from cnntk.exporters import export

    for name in NETWORKS:
        path = folder / f"{name.rpartition(':')[2]}.onnx"
        try:
            export(name, output=path, random=True)
        except CnntkError as error:
            print(f"{name}: {error}")
            continue
        yield path


def line(row: LayerRow) -> str:
    def number(value: float | None, digits: int = 1) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    distance = "" if row.distance is None else f"{row.distance:.0%}"
    return (
        f"  {row.name:<44.44} {row.time_ms:9.4f} ms {row.share:6.1%} {row.multiply_adds / 1e6:9.2f} M "
        f"{number(row.gmacs_per_s):>7} G/s {number(row.gb_per_s):>6} GB/s {row.limit or '':>8} {distance:>5}"
    )


def summary(name: str, report: LayerReport) -> str:
    return (
        f"{name:10} layers {report.sum_ms:9.4f} ms, run {report.run_ms:9.4f} ms, unaccounted "
        f"{report.unaccounted_share:+6.1%}, {report.multiply_adds / 1e6:.2f} M multiply-adds"
    )


if __name__ == "__main__":
    main()
