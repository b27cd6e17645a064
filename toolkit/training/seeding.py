"""Random numbers of training, which follow from (seed, epoch), so that no generator state is saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch

__all__ = ["Purpose", "generator", "seeded"]


class Purpose(IntEnum):
    """Purpose of random numbers; each purpose has a separate stream."""

    WEIGHTS = 0
    SHUFFLE = 1
    AUGMENT = 2
    DROPOUT = 3


def generator(purpose: Purpose, seed: int, epoch: int = 0) -> torch.Generator:
    """Returns a generator on the CPU whose numbers depend only on the arguments."""
    return torch.Generator().manual_seed(_mixed(purpose, seed, epoch))


@contextmanager
def seeded(purpose: Purpose, seed: int, epoch: int = 0, device: torch.device | None = None) -> Iterator[None]:
    """Seeds torch's global generators of the CPU and of ``device``, and restores them afterwards."""
    value = _mixed(purpose, seed, epoch)
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(value)  # torch.manual_seed would seed all devices
        for each in cuda:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(value)
        yield


def _mixed(purpose: Purpose, seed: int, epoch: int) -> int:
    """Makes neighboring seeds and epochs independent (O'Neill's seed_seq, as in numpy)."""
    return int(np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)[0])
