"""Checks of the arguments of `train` that need no torch, so that wrong ones are refused at once."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from cnntk.data.source import check_data
from cnntk.models import zoo
from cnntk.models.python_names import check_reference, name_missing
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError
from cnntk.training.folder import RunFolder
from cnntk.training.options import TrainOptions

if TYPE_CHECKING:
    from torch import nn

    from cnntk.data.dataset import Split

__all__ = ["check_arguments"]


def check_arguments(
    network: str | Network | nn.Module | None,
    data: str | Split | None,
    output: str | os.PathLike[str] | None,
    options: TrainOptions,
) -> RunFolder:
    """Checks arguments of `cnntk.training.train`, and returns the folder of the checkpoint.

    Raises:
        UsageError: There is no such network or data, an option excludes another, or the folder exists.
        DataError: The folder of the data does not exist.
        MissingDependency: The data needs a package that is not installed.
    """
    path = output or _default_folder(network, data, options.body)
    folder = RunFolder.open(path, resume=options.resume, force=options.force)
    if isinstance(network, str):
        _check_reference(network, data if isinstance(data, str) else "digits")
    if isinstance(data, str) or (data is None and not options.resume):
        check_data(data or "digits")
    if options.body is not None and not Path(options.body).exists():
        raise UsageError(f"{options.body}: no such checkpoint (from --body)")
    return folder


def _check_reference(network: str, data: str) -> None:
    """A network of the zoo, or the file of one that is the user's own."""
    if network.endswith(".py"):
        raise name_missing(network, "train", f"--data {shlex.quote(data)}")
    if ":" not in network:
        zoo.find(network)
    else:
        check_reference(network)


def _default_folder(
    network: str | Network | nn.Module | None, data: str | Split | None, body: str | os.PathLike[str] | None
) -> Path:
    if isinstance(network, Network):
        name = network.factory
    elif isinstance(network, str):
        name = network
    elif network is not None:
        name = type(network).__name__
    else:
        name = Path(body).name if body is not None else "lenet"
    kind, _, path = (data if isinstance(data, str) else data.name if data else "digits").partition(":")
    return Path("runs") / f"{name.rpartition(':')[2]}-{Path(path).name if kind == 'folder' else kind}"
