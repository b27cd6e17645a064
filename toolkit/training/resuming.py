"""Resuming: options that are left out are those of the interrupted training, the others have to be equal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from cnntk.data import Split
from cnntk.models.factory import absolute
from cnntk.models.trust import check_network
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError
from cnntk.training.options import TrainOptions

__all__ = ["DATA_LOCATION", "TrainRequest", "check_unchanged", "data_location"]

DATA_LOCATION = "data_location"
"""Setting with the location of the data, which may differ: ``data_fingerprint`` identifies the content."""

_OPTIONS = (
    "epochs",
    "batch_size",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "schedule",
    "max_images",
    "seed",
    "device",
)


@dataclass(frozen=True, eq=False)
class TrainRequest:
    """Arguments of `cnntk.training.train`; None for those that are left out.

    Attributes:
        network: Network to train.
        data: Labeled images.
        options: Options of the training.
    """

    network: str | Network | nn.Module | None
    data: str | Split | None
    options: TrainOptions

    def completed(self, saved: Mapping[str, Any], folder: Path) -> TrainRequest:
        """The request with the settings ``saved`` of the training in ``folder`` where it says None.

        Raises:
            UsageError: That training was started with a module or a Split, which has to be passed again.
        """
        data = self.data if self.data is not None else saved.get(DATA_LOCATION)
        if data is None:
            raise UsageError(f"{folder}: was started with --data {saved.get('data')}; pass the data again")
        options = _filled(self.options, saved, _OPTIONS)
        if options.augment is None:
            options = replace(options, augment=tuple(saved["augment"]))
        if isinstance(self.network, nn.Module):
            return TrainRequest(self.network, data, _filled(options, saved, ("image_size",)))
        if saved["body"] is not None:
            frozen = {**saved, "freeze": (saved["network_arguments"] or {}).get("frozen")}
            return TrainRequest(self.network, data, _filled(options, frozen, ("body", "freeze", "init")))
        options = _filled(options, saved, ("image_size", "init"))
        return TrainRequest(self._network(saved, folder), data, options)

    def _network(self, saved: Mapping[str, Any], folder: Path) -> str | Network | nn.Module | None:
        name, arguments = saved["network"], saved["network_arguments"]
        other = self.network is not None and not (
            isinstance(self.network, str) and absolute(self.network) == name
        )
        if other or self.options.body is not None:
            return self.network
        if arguments is None:
            raise UsageError(f"{folder}: was started with a module of your own, {name}; pass it again")
        network = Network(name, arguments)
        named = name if self.network is not None else None
        check_network(network, folder, weights_bytes=None, trust=self.options.trust, named=named)
        return network


def data_location(data: str | Split) -> str | None:
    """``data`` in a form that is valid in any working directory; None for a Split."""
    if not isinstance(data, str):
        return None
    kind, colon, path = data.partition(":")
    return kind + colon + (os.path.abspath(Path(path).expanduser()) if colon else "")


def check_unchanged(settings: Mapping[str, Any], saved: Mapping[str, Any], folder: Path) -> None:
    """Raises UsageError where the settings differ from those of the training to be resumed."""
    names = [name for name in settings if name != DATA_LOCATION and settings[name] != saved.get(name)]
    if "data_fingerprint" in names and "data" not in names:
        raise UsageError(f"{folder}: its data has changed since it was started; start again with --force")
    if not names:
        return
    name, before, now = names[0], saved.get(names[0]), settings[names[0]]
    if name == "network_arguments":
        name, before, now = _first_difference(before or {}, now or {})
        if name in ("body", "body_kwargs", "input_shape"):
            raise UsageError(
                f"{folder}: its --body has changed since it was started; start again with --force"
            )
    raise UsageError(
        f"{folder}: was started with {_option(name)} {_text(before)}, not {_text(now)}; "
        "leave it out to continue, or start again with --force"
    )


def _filled(options: TrainOptions, saved: Mapping[str, Any], names: tuple[str, ...]) -> TrainOptions:
    return replace(options, **{name: saved[name] for name in names if getattr(options, name) is None})


def _first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, Any, Any]:
    name = next(name for name in {**before, **now} if before.get(name) != now.get(name))
    return name, before.get(name), now.get(name)


def _option(name: str) -> str:
    """Spelling of a setting on the command line."""
    if name == "network":
        return "NET"
    if name == "frozen":
        return "--freeze"
    fields = TrainOptions.__dataclass_fields__
    return f"--{name.replace('_', '-')}" if name in fields or name == "data" else f"the network's {name}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
