"""Resuming: what was not said this time is as it was begun, and what was said has to be the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from cnntk.data import Split
from cnntk.models.factory import absolute
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError
from cnntk.training.options import TrainOptions

__all__ = ["DATA_PLACE", "TrainRequest", "check_same", "place_of"]

DATA_PLACE = "data_place"
"""Where the data lay. It may move: what it holds is told by ``data_fingerprint``."""

_KEPT = ("epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "schedule", "seed", "device")


@dataclass(frozen=True, eq=False)
class TrainRequest:
    """What is to be trained on what, and how; None where nothing was said.

    Attributes:
        network: as `cnntk.training.train` takes it.
        data: as `cnntk.training.train` takes it.
        options: of the user.
    """

    network: str | Network | nn.Module | None
    data: str | Split | None
    options: TrainOptions

    def completed(self, saved: Mapping[str, Any], folder: Path) -> TrainRequest:
        """What was said, and the rest as the training in ``folder`` was begun with: ``saved``.

        Raises:
            UsageError: it was begun with a module or a Split, which has to be passed again.
        """
        data = self.data if self.data is not None else saved.get(DATA_PLACE)
        if data is None:
            raise UsageError(f"{folder}: was begun with --data {saved.get('data')}; say where it is")
        options = _filled(self.options, saved, _KEPT)
        if options.augment is None:
            options = replace(options, augment=tuple(saved["augment"]))
        if isinstance(self.network, nn.Module):
            return TrainRequest(self.network, data, _filled(options, saved, ("image_size",)))
        if saved["body"] is not None:
            frozen = {**saved, "freeze": (saved["network_arguments"] or {}).get("frozen")}
            return TrainRequest(self.network, data, _filled(options, frozen, ("body", "freeze", "init")))
        return TrainRequest(
            self._network(saved, folder), data, _filled(options, saved, ("image_size", "init"))
        )

    def _network(self, saved: Mapping[str, Any], folder: Path) -> str | Network | nn.Module | None:
        name, arguments = saved["network"], saved["network_arguments"]
        other = self.network is not None and not (
            isinstance(self.network, str) and absolute(self.network) == name
        )
        if other or self.options.body is not None:
            return self.network
        if arguments is None:
            raise UsageError(f"{folder}: was begun with a module of your own, {name}; pass it again")
        return Network(name, arguments)


def place_of(data: str | Split) -> str | None:
    """``data`` as one can say it again in any folder; None of a Split."""
    if not isinstance(data, str):
        return None
    kind, colon, place = data.partition(":")
    return kind + colon + (os.path.abspath(Path(place).expanduser()) if colon else "")


def check_same(now: Mapping[str, Any], before: Mapping[str, Any], folder: Path) -> None:
    """Raises UsageError where the training to be resumed was another one."""
    differing = [name for name in now if name != DATA_PLACE and now[name] != before.get(name)]
    if "data_fingerprint" in differing and "data" not in differing:
        raise UsageError(f"{folder}: its data has changed since it was begun; start again with --force")
    if not differing:
        return
    name, was, given = differing[0], before.get(differing[0]), now[differing[0]]
    if name == "network_arguments":
        name, was, given = _first_difference(was or {}, given or {})
        if name in ("body", "body_kwargs", "input_shape"):
            raise UsageError(f"{folder}: its --body has changed since it was begun; start again with --force")
    raise UsageError(
        f"{folder}: was begun with {_option(name)} {_shown(was)}, not {_shown(given)}; "
        "leave it out to go on, or start again with --force"
    )


def _filled(options: TrainOptions, saved: Mapping[str, Any], names: tuple[str, ...]) -> TrainOptions:
    return replace(options, **{name: saved[name] for name in names if getattr(options, name) is None})


def _first_difference(was: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, Any, Any]:
    name = next(name for name in {**was, **given} if was.get(name) != given.get(name))
    return name, was.get(name), given.get(name)


def _option(name: str) -> str:
    """What the user says to choose it."""
    if name == "network":
        return "NET"
    if name == "frozen":
        return "--freeze"
    fields = TrainOptions.__dataclass_fields__
    return f"--{name.replace('_', '-')}" if name in fields or name == "data" else f"the network's {name}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
