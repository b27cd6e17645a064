"""An export that is killed, or can't write, leaves either no file or a whole one."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnntk.exporters import export
from cnntk.runtime import Engine
from cnntk.runtime.errors import UsageError

KILLS = 50

EXPORTER = """
import os, sys, time
import torch
torch.set_num_threads(1)
import cnntk.exporters._pipeline as pipeline, onnxruntime, onnxscript
for line in sys.stdin:
    path = line.strip()
    child = os.fork()
    if child == 0:
        pipeline.export("lenet", path, random=True, force=True)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.mark.slow
def test_kill_at_any_moment(tmp_path: Path) -> None:
    """One process loads torch, and forks a child for each export, which is killed at a random moment."""
    rng = random.Random(0)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", EXPORTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        took = export_and_kill(parent, tmp_path / "whole.onnx", None)
        assert Engine(tmp_path / "whole.onnx").spec.name == "lenet"
        outcomes = []
        for i in range(KILLS):
            path = tmp_path / f"{i}.onnx"
            if rng.random() < 0.5:
                path.write_bytes((tmp_path / "whole.onnx").read_bytes())  # to be replaced
            export_and_kill(parent, path, rng.uniform(0, 1.1 * took))
            outcomes.append(path.exists())
            if path.exists():
                assert Engine(path).spec.name == "lenet"
        parent.stdin.close()
    assert len(set(outcomes)) == 2, "the kills came all too early or all too late to show anything"


def export_and_kill(parent: subprocess.Popen, path: Path, after: float | None) -> float:
    """Seconds until the child was gone."""
    start = time.monotonic()
    parent.stdin.write(f"{path}\n")
    parent.stdin.flush()
    child = int(parent.stdout.readline())
    if after is not None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    assert parent.stdout.readline() == "gone\n"
    return time.monotonic() - start


def run_limited(code: str, *args: object, limit: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{limit}\n{code}", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )


EXPORT = """
import sys
from cnntk.cli import main
sys.exit(main(["export", "lenet", "--random", "--force", "-o", sys.argv[1]]))
"""
SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""
AS_NOBODY = """
import os, sys, tempfile
from cnntk.cli import main
with tempfile.TemporaryDirectory() as folder:  # loads all that an export loads, while it may be read
    main(["export", "lenet", "--random", "-o", os.path.join(folder, "model.onnx")])
if os.getuid() == 0:
    os.setuid(65534)
"""


@pytest.mark.slow
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """No file may be larger than 100 kB, which the system reports as a full disk is: while writing."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    target = tmp_path / "model.onnx"
    target.write_bytes(b"the old one")
    done = run_limited(EXPORT, target, limit=SMALL_FILES)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "can't be written" in done.stderr
    assert target.read_bytes() == b"the old one"
    assert os.listdir(tmp_path) == ["model.onnx"]


@pytest.mark.slow
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and parent != folder:
            parent.chmod(parent.stat().st_mode | 0o555)
    done = run_limited(EXPORT, folder / "model.onnx", limit=AS_NOBODY)
    assert done.returncode == 2
    assert "not writable" in done.stderr.splitlines()[-1]
    assert os.listdir(folder) == []


@pytest.mark.parametrize("name", ["with space.onnx", "größe.onnx", "模型.onnx", "a'b\"c.onnx"])
def test_paths_of_all_kinds(tmp_path: Path, name: str) -> None:
    folder = tmp_path / f"folder {name}"
    folder.mkdir()
    export("lenet", folder / name, random=True)
    assert Engine(folder / name).spec.name == "lenet"
    assert os.listdir(folder) == [name]
    with pytest.raises(UsageError, match="exists already"):
        export("lenet", folder / name, random=True)
