import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")

ENDLESS = """<ir_version: 10, opset_import: ["" : 18]>
g (float[N,3] x) => (float[N,3] y)
<int64 trips = {4611686018427387904}, bool go = {1}> {
  y = Loop (trips, go, x) <body = b (int64 i, bool c, float[N,3] s) => (bool c2, float[N,3] s2)
    { c2 = Identity (c) s2 = Neg (s) }>
}"""

BLOCKED = """
import sys, time
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import onnxruntime as ort
from cnntk.cli.signals import ended_by_signals
from cnntk.runtime.files import atomic_write

session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
run = lambda: session.run(None, {"x": np.ones((1, 3), np.float32)})
with ended_by_signals({}), atomic_write(Path(sys.argv[1]).with_name("output")) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    if sys.argv[2] == "main":
        run()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()
"""

FINISHING = """
import time
from cnntk.cli.signals import FINISHES, ended_by_signals

with ended_by_signals({FINISHES: True}):
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("writes the best so far", flush=True)
        time.sleep(60)
"""


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


@pytest.mark.parametrize(
    ("thread", "number", "status", "ending"),
    [("main", signal.SIGINT, 130, "interrupted"), ("worker", signal.SIGTERM, 143, "terminated")],
    ids=["main", "worker"],
)
def test_an_endless_run_ends(tmp_path: Path, thread: str, number: int, status: int, ending: str) -> None:
    model = tmp_path / "endless.onnx"
    onnx.save(onnx.parser.parse_model(ENDLESS), model)
    with started(BLOCKED, str(model), thread) as running:
        time.sleep(0.2)  # until it is in the loop
        assert len(list(tmp_path.iterdir())) == 2
        running.send_signal(number)
        message = running.communicate(timeout=60)[1]
    assert running.returncode == status
    assert message.splitlines()[-1] == f"cnntk: {ending}"
    assert list(tmp_path.iterdir()) == [model]


def test_a_command_that_finishes_is_ended_by_a_second_signal() -> None:
    """The second one counts after the time to react: ``timeout`` sends two at once."""
    with started(FINISHING) as running:
        running.send_signal(signal.SIGINT)
        assert running.stdout.readline() == "writes the best so far\n"
        running.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(timeout=1.5)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 130
