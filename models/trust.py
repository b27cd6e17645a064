"""Whose code runs: the zoo's and what the user names; code that only a file names needs the user's trust."""

from __future__ import annotations

import os

from cnntk.models.zoo import BUILT_IN, build, find, names
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import CheckpointError, UsageError

__all__ = ["TRUST_HINT", "WITH_NEW_HEAD", "body_of", "check_network"]

TRUST_HINT = "look into it first: --trust (trust=True) runs it with your rights, like any program"

WITH_NEW_HEAD = "cnntk.models.transfer:zoo_with_new_head"
"""The name of `zoo_with_new_head` in a checkpoint."""


def check_network(
    network: Network,
    file: str | os.PathLike[str],
    *,
    weights_bytes: int | None,
    trust: bool,
    named: str | None = None,
) -> None:
    """Checks that the network that a file names runs no code but cnntk's and what the user wants to run.

    Args:
        network: Network of a checkpoint's or an artifact's spec.
        file: The file that names it.
        weights_bytes: Size of the file's weights, where it has any: a network of the zoo has at most one
            weight a byte, so that building it can't take all memory.
        trust: Whether the user trusts the code that the file names.
        named: Factory that the user named.

    Raises:
        UsageError: It is code outside the zoo, and the user neither trusts the file nor named that factory;
            or there is no network of this name.
        CheckpointError: It has more weights than the file.
    """
    factory = body_of(network).factory
    if factory not in BUILT_IN:
        if ":" not in factory and factory not in names():
            find(factory)  # says which names there are
        if not trust and factory != named:
            raise UsageError(
                f"{os.fspath(file)}: names {factory!r} to build its network, which is code outside cnntk's "
                f"zoo, so it is not run; {TRUST_HINT}"
            )
        return
    if weights_bytes is None:
        return
    import torch  # only now: the command line reads `body_of`

    with torch.device("meta"):
        weights = sum(tensor.numel() for tensor in build(network).state_dict().values())
    if weights > weights_bytes:
        raise CheckpointError(
            f"{os.fspath(file)}: its network {factory!r} would have {weights:,} weights, but the file has "
            f"only {weights_bytes:,} bytes of them; its arguments are damaged"
        )


def body_of(network: Network) -> Network:
    """Returns the network below the heads that trainings put on it."""
    while network.factory == WITH_NEW_HEAD and isinstance(body := network.kwargs.get("body"), str):
        network = Network(body, network.kwargs.get("body_kwargs") or {})
    return network
