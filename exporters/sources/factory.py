"""The user's own code: ``package.module:factory`` or ``path/to/file.py:factory``."""

from __future__ import annotations

from cnntk.exporters.source import Source, SourceOptions
from cnntk.exporters.sources.inputs import dtype_of, input_specs
from cnntk.exporters.sources.weights import with_weights
from cnntk.models import zoo
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError

__all__ = ["from_factory"]


def from_factory(text: str, options: SourceOptions) -> Source:
    """The network that the factory returns. It runs that factory's code, whatever it is.

    Raises:
        UsageError: there is no such factory, it does not take the arguments, or it is not said what the
            network takes.
        CheckpointError: the weights are damaged or belong to another network.
    """
    if options.input_shape is None:
        raise UsageError(f"{text}: say what it takes, like --input 3x224x224")
    network = Network(text, dict(options.kwargs))
    module, provenance = with_weights(lambda: zoo.build(network), text, options)
    inputs = input_specs(options.input_shape, dtype_of(module))
    return Source(text.rpartition(":")[2], inputs, module, network=network, provenance=provenance)
