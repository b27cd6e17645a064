"""Faults on purpose that the cases must see: a harness that sees nothing would look the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnntk.runtime import Engine
from cnntk.runtime.artifact.protobuf import parse_model

__all__ = ["fixed_fault", "load_unverified", "logged_seeds", "read_unchecked"]


def load_unverified(model: Any, max_memory: int | None = None) -> Engine:
    """An Engine that skips the digest: it loads the file without the metadata that has it."""
    data = model if isinstance(model, bytes) else Path(model).read_bytes()
    parse_model(data, "<bytes>")
    data = data[: data.rfind(b"r", 0, data.rfind(b'{"spec"') - 8)]
    if isinstance(model, bytes):
        return Engine(data, max_memory=max_memory)
    copy = Path(model).with_name("unverified.onnx")  # beside its data file
    copy.write_bytes(data)
    return Engine(copy, max_memory=max_memory)


def fixed_fault(shared: Path, scratch: Path) -> Callable[[int], str]:
    """Cases of which some crash, hang, take memory, or raise what is not promised."""

    def check(seed: int) -> str:
        if seed == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif seed == 5:
            time.sleep(60)
        elif seed == 7:
            raise KeyError("not promised")
        elif seed == 9:
            np.ones(200 << 17)
        return "good"

    return check


def logged_seeds(shared: Path, scratch: Path) -> Callable[[int], str]:
    """Cases of a few milliseconds, some slower, that note their seeds."""

    def check(seed: int) -> str:
        time.sleep(0.02 if seed % 2 else 0.005)
        with open(shared / "seeds.txt", "a") as stream:
            stream.write(f"{seed}\n")
        return "good"

    return check


def read_unchecked(data: bytes, **options: Any) -> np.ndarray:
    """A reader of images that raises whatever goes wrong in it."""
    return np.frombuffer(data, np.uint8, 12, len(data) // 2).reshape(2, 2, 3)
