"""A network of the zoo, by name."""

from __future__ import annotations

from cnntk.exporters.source import Source, SourceOptions
from cnntk.exporters.sources.inputs import dtype_of, input_specs, one_shape
from cnntk.exporters.sources.weights import with_weights
from cnntk.models import zoo
from cnntk.runtime.artifact.spec import Network

__all__ = ["from_zoo"]


def from_zoo(name: str, options: SourceOptions) -> Source:
    """The network called ``name``, at its own input size or the user's.

    Raises:
        UsageError: there is no such network, or it does not take these options.
        CheckpointError: the weights are damaged or belong to another network.
    """
    entry = zoo.find(name)
    shape = one_shape(options.input_shape, name) or entry.input_shape
    size = shape[1] if shape[1] == shape[2] else list(shape[1:])
    network = Network(name, {"in_channels": shape[0], "image_size": size, **options.kwargs})
    module, provenance = with_weights(lambda: zoo.build(network), name, options)
    inputs = input_specs(shape, dtype_of(module))
    return Source(name, inputs, module, classifier=True, network=network, provenance=provenance)
