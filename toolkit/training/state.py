"""The state from which an interrupted training resumes: ``training.safetensors`` in its folder.

The learning rate and all randomness follow from the settings and the epoch, so the state is the weights, the
optimizer's moments and the number of the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from cnntk.models.weights import save_tensors
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.errors import CheckpointError, UsageError
from cnntk.runtime.files import atomic_write
from cnntk.training.report import EpochResult

__all__ = ["TrainingState"]

_KEY = "cnntk"
_WEIGHTS, _OPTIMIZER = "weights.", "optimizer."


@dataclass(frozen=True, eq=False)
class TrainingState:
    """State of a training between two epochs.

    Attributes:
        settings: Settings of the training, as JSON data.
        history: Results of the finished epochs.
        tensors: Weights and moments; empty before the first epoch, whose weights follow from the seed.
    """

    settings: Mapping[str, Any]
    history: tuple[EpochResult, ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        module: nn.Module,
        optimizer: Optimizer,
        settings: Mapping[str, Any],
        history: tuple[EpochResult, ...],
    ) -> TrainingState:
        """Takes the state of a network and its optimizer."""
        tensors = {_WEIGHTS + name: tensor for name, tensor in module.state_dict().items()}
        for number, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"{_OPTIMIZER}{number}.{k}": v for k, v in moments.items() if isinstance(v, Tensor)}
        return cls(settings, history, tensors)

    def restore(self, module: nn.Module, optimizer: Optimizer) -> None:
        """Loads weights and moments into the network and its optimizer.

        Raises:
            CheckpointError: They belong to another network.
        """
        if not self.history:
            return
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self._under(_OPTIMIZER).items():
            number, _, key = name.partition(".")
            moments.setdefault(int(number), {})[key] = tensor
        try:
            module.load_state_dict(self._under(_WEIGHTS))
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise CheckpointError(
                f"the state of the training belongs to another network: {reason}"
            ) from error

    def save(self, file: Path) -> None:
        """Writes the state to ``file`` atomically.

        Raises:
            UsageError: The file can't be written.
        """
        header = json.dumps({"settings": self.settings, "history": as_json(self.history)})
        # Copies, because safetensors refuses tensors that share memory, as tied weights do.
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in self.tensors.items()}
        with atomic_write(file) as temporary:
            try:
                save_tensors(tensors, temporary, {_KEY: header})
            except SafetensorError as error:
                raise UsageError(f"{file}: can't be written: {error}") from error

    @classmethod
    def load(cls, file: Path) -> TrainingState:
        """Reads a file that `save` wrote.

        Raises:
            CheckpointError: The file is damaged.
        """
        try:
            with safe_open(file, framework="pt") as content:
                header = json.loads(content.metadata()[_KEY])
                tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
            history = decode(tuple[EpochResult, ...], header["history"], "history")
            return cls(header["settings"], history, tensors)
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{file}: is damaged ({error}); start again with --force") from error

    def _under(self, prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}
