"""What only training can raise."""

from __future__ import annotations

from cnntk.runtime.errors import CnntkError

__all__ = ["TrainingDiverged"]


class TrainingDiverged(CnntkError):  # noqa: N818 - named for what is wrong, like ArtifactCorrupt
    """The loss or the logits are no longer finite; the message says where and what to lower."""

    exit_status = 1
