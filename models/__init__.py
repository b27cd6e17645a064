"""Networks, their reference mathematics, the zoo and checkpoints. torch is imported on first use.

The networks are imported from the module that bears their name, as in
``from cnntk.models.lenet import lenet``, and the mathematics from ``cnntk.models.reference``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.models._blocks import nin_block, vgg_block
    from cnntk.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from cnntk.models.initialize import init_cnn, init_normal
    from cnntk.models.transfer import with_new_head, without_head, zoo_with_new_head
    from cnntk.models.weights import load_weights
    from cnntk.models.zoo import Recipe, ZooEntry, build, find, names

# A function that bears its module's name (lenet, vgg, initialize) can't be lazy here: as soon as the
# module is loaded, Python binds the module to that name of the package.
__all__ = [
    "Checkpoint",
    "Recipe",
    "ZooEntry",
    "build",
    "find",
    "init_cnn",
    "init_normal",
    "load_checkpoint",
    "load_weights",
    "names",
    "nin_block",
    "save_checkpoint",
    "vgg_block",
    "with_new_head",
    "without_head",
    "zoo_with_new_head",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "cnntk.models._blocks": ("nin_block", "vgg_block"),
        "cnntk.models.checkpoint": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
        "cnntk.models.initialize": ("init_cnn", "init_normal"),
        "cnntk.models.transfer": ("with_new_head", "without_head", "zoo_with_new_head"),
        "cnntk.models.weights": ("load_weights",),
        "cnntk.models.zoo": ("Recipe", "ZooEntry", "build", "find", "names"),
    },
)
