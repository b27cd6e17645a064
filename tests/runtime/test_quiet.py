"""The runtime as a guest in an app: it prints nothing, opens no socket, and leaves the process as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

PROBE = """
import json, locale, logging, multiprocessing, os, signal, sys, threading, warnings
import numpy, PIL.Image, PIL.ImageFile

sockets = []
sys.addaudithook(lambda event, _: sockets.append(event) if event.startswith("socket.") else None)

def look():
    root = logging.getLogger()
    hooks = sys.excepthook, sys.displayhook, threading.excepthook, sys.stdout, sys.stderr
    return {
        "root logger": [root.level, list(map(repr, root.handlers)), root.disabled],
        "logging": [logging.raiseExceptions, logging.getLoggerClass().__name__, logging.root.manager.disable],
        "locale": locale.setlocale(locale.LC_ALL),
        "environment": dict(os.environ),
        "folder": [os.getcwd(), umask()],
        "warnings": list(map(repr, warnings.filters)),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "Pillow": [PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES, PIL.ImageFile.MAXBLOCK],
        "numpy": [numpy.geterr(), repr(numpy.geterrcall()), numpy.get_printoptions()],
        "signals": {s.name: repr(signal.getsignal(s)) for s in signal.valid_signals() if hasattr(s, "name")},
        "hooks": list(map(repr, hooks)),
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "sockets": sorted(set(sockets)),
    }

def umask():
    os.umask(mask := os.umask(0))
    return mask

before = look()
"""

REPORT = """
after = look()
changed = [name for name in before if after[name] != before[name]]
print("CHANGED", json.dumps(changed), flush=True)
"""

USE = """
import cnntk.runtime
from cnntk.runtime import Classifier, Engine, ImageError, InputError
from cnntk.runtime.batching.batching import BatchingEngine
from cnntk.shipped import shipped_model

engine = Engine(shipped_model(), self_test=True)
classify = Classifier(engine)
image = numpy.zeros((40, 30, 3), numpy.uint8)
classify(image).top(3)
classify.many([image, image[:28, :28]])
for wrong, run in ((ImageError, lambda: classify(b"no image")), (InputError, lambda: engine.run({}))):
    try:
        run()
    except wrong:
        pass
with BatchingEngine(engine) as batching:
    batching.run({"image": image[None, :, :, :1]})
"""

CHANGES = {
    "root logger": "logging.basicConfig()",
    "logging": "logging.disable()",
    "locale": "locale.setlocale(locale.LC_ALL, 'C.UTF-8' if before['locale'] == 'C' else 'C')",
    "environment": "os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'",
    "folder": "os.umask(0o123)",
    "warnings": "warnings.simplefilter('ignore')",
    "start method": "multiprocessing.set_start_method('spawn')",
    "Pillow": "PIL.ImageFile.LOAD_TRUNCATED_IMAGES = True",
    "numpy": "numpy.seterr(over='ignore')",
    "signals": "signal.signal(signal.SIGINT, signal.SIG_DFL)",
    "hooks": "sys.excepthook = print",
    "limits": "sys.setrecursionlimit(5000)",
    "sockets": "import socket; socket.socket().close()",
}


@dataclass(frozen=True)
class Seen:
    changed: list[str]
    stdout: str
    stderr: str


def seen_of(code: str) -> Seen:
    """What a process that ran ``code`` printed, and what it changed about itself."""
    source = "\n".join((PROBE, code, REPORT))
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    printed, _, changed = done.stdout.rpartition("CHANGED ")
    changes: Any = json.loads(changed)
    return Seen(changes, printed, done.stderr)


def test_prints_nothing_and_changes_nothing() -> None:
    assert seen_of(USE) == Seen([], "", "")


def test_importing_everything_changes_nothing() -> None:
    everything = """
import importlib, pkgutil, cnntk.runtime
for module in pkgutil.iter_modules(cnntk.runtime.__path__):
    importlib.import_module(f"cnntk.runtime.{module.name}")
"""
    assert seen_of(everything) == Seen([], "", "")


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_noticed(what: str) -> None:
    assert seen_of(CHANGES[what]).changed == [what]


def test_printing_is_noticed() -> None:
    seen = seen_of("print('hello'); sys.stderr.write('there'); os.write(2, b'!')")
    assert (seen.stdout, seen.stderr) == ("hello\n", "there!")


def test_what_it_logs_reaches_an_app_that_asks() -> None:
    seen = seen_of(f"""
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
{USE}
Engine(shipped_model(), device="auto")
""")
    assert seen.changed == ["root logger"]
    assert seen.stderr.startswith("cnntk.runtime INFO ")
    assert "lenet.onnx: runs on " in seen.stderr
