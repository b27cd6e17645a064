"""What an export with checks costs over torch.onnx.export alone: time and peak memory, a process each.

python benchmarks/export_cost.py [NETWORK ...]
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from common import in_turn, options, paired, print_table, row

PREPARE = """
import sys, time, torch, warnings
warnings.simplefilter("ignore")
from cnntk.benchmark.memory import read_status
from cnntk.models import zoo
from cnntk.runtime.artifact.spec import Network
import onnxruntime, onnxscript, cnntk.exporters._pipeline
name, path = sys.argv[1:]
shape = zoo.find(name).input_shape
network = zoo.build(Network(name, {"in_channels": shape[0], "image_size": shape[1]})).eval()
start = time.perf_counter()
"""
REPORT = """
print("figures", 1e3 * (time.perf_counter() - start), read_status()["peak"] / 1e6)
"""
TORCH = """
example, batch = torch.zeros(2, *shape), torch.export.Dim("N")
torch.onnx.export(network, (example,), path, dynamo=True, opset_version=18, external_data=False,
                  dynamic_shapes=({0: batch},), verbose=False)
"""
CNNTK = """
cnntk.exporters._pipeline.export(network, path, input_shape=shape, force=True)
"""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("networks", nargs="*", help="of the zoo")
    args = parser.parse_args()
    networks = args.networks or (["lenet"] if args.quick else ["lenet", "nin", "alexnet", "vgg11"])
    rounds = 1 if args.quick else 6
    print(f"Each export in a process of its own, its imports not counted; in turn, {rounds} rounds.\n")
    times, peaks = [], []
    for name in networks:
        calls = {"torch": TORCH, "cnntk": CNNTK}
        result = in_turn({k: functools.partial(figures, code, name) for k, code in calls.items()}, rounds)
        ms = {k: np.array(runs)[:, 0] for k, runs in result.items()}
        times.append(row(f"{name}, with checks", "torch.onnx.export alone", paired(ms["torch"], ms["cnntk"])))
        cnntk_mb, torch = (statistics.median(peak for _, peak in result[k]) for k in ("cnntk", "torch"))
        peaks.append((name, f"{cnntk_mb:.0f} MB", f"{torch:.0f} MB", f"{cnntk_mb - torch:+.0f} MB"))
    print_table(times)
    print("The most memory that was resident:\n")
    print_table(peaks, ("network", "with checks", "torch.onnx.export alone", "difference"))


def figures(body: str, name: str) -> tuple[float, float]:
    """Milliseconds, and peak resident memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PREPARE + body + REPORT, name, os.path.join(folder, "model.onnx")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    _, took, peak = done.stdout.splitlines()[-1].split()
    return float(took), float(peak)


if __name__ == "__main__":
    main()
