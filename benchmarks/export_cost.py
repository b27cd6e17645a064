"""What a proven export costs over torch.onnx.export alone: time and peak memory, a process each.

python benchmarks/export_cost.py [NETWORK ...]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from cnntk.runtime.timing import Race

ROUNDS = 3

PREPARE = """
import resource, sys, time, torch, warnings
warnings.simplefilter("ignore")
from cnntk.models import zoo
from cnntk.runtime.spec import Network
import onnxruntime, onnxscript, cnntk.exporters.pipeline
name, path = sys.argv[1:]
shape = zoo.find(name).input_shape
network = zoo.build(Network(name, {"in_channels": shape[0], "image_size": shape[1]})).eval()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
"""
REPORT = """
took = time.perf_counter() - start
print("figures", took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, before / 1e3)
"""
TORCH = """
example, batch = torch.zeros(2, *shape), torch.export.Dim("N")
torch.onnx.export(network, (example,), path, dynamo=True, opset_version=18, external_data=False,
                  dynamic_shapes=({0: batch},), verbose=False)
"""
OURS = """
cnntk.exporters.pipeline.export(network, path, input_shape=shape, force=True)
"""


def main() -> None:
    for name in sys.argv[1:] or ("lenet", "nin", "alexnet", "vgg11"):
        runs = [(figures(TORCH, name), figures(OURS, name)) for _ in range(ROUNDS)]
        torch_s, ours_s = (statistics.median(run[i][0] for run in runs) for i in (0, 1))
        torch_mb, ours_mb = (statistics.median(run[i][1] for run in runs) for i in (0, 1))
        found = Race.of([[b[0] for _, b in runs], [a[0] for a, _ in runs]])
        print(
            f"{name}: torch.onnx.export {torch_s:.1f} s, peak {torch_mb:.0f} MB; with proof {ours_s:.1f} s, "
            f"peak {ours_mb:.0f} MB; time x{found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}] "
            f"({ours_s - torch_s:+.1f} s), "
            f"peak {ours_mb - torch_mb:+.0f} MB"
        )


def figures(body: str, name: str) -> tuple[float, float]:
    """Seconds, and peak resident memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PREPARE + body + REPORT, name, os.path.join(folder, "model.onnx")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    _, took, peak, _ = done.stdout.splitlines()[-1].split()
    return float(took), float(peak)


if __name__ == "__main__":
    main()
