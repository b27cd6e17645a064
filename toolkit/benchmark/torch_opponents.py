"""torch as an opponent: the network that a model was exported from, eager and compiled."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from cnntk.benchmark.opponent import Arrays, Opponent, first_line, in_order
from cnntk.runtime.artifact.digest import embedded_digest
from cnntk.runtime.artifact.spec import IMAGE_INPUT, ModelSpec
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DeviceUnavailable, MissingDependency, UsageError
from cnntk.shipped import shipped_checkpoint, shipped_model

if TYPE_CHECKING:
    import torch

    from cnntk.exporters.source import Source, SourceOptions

__all__ = ["torch_rivals"]

_RANDOM = "random, seed "


@contextmanager
def torch_rivals(
    source: str, engine: Engine, inputs: Arrays, *, weights: str | None, random: bool
) -> Iterator[tuple[Opponent, ...]]:
    """The network in torch, eager and compiled, with the engine's threads until the block ends.

    Where the file prepares images in its graph, so does torch, in front of the network. A softmax that only
    the file has is not added: torch does that much less.

    Args:
        source: as `cnntk.export` takes it; empty for the model's own.
        engine: whose device and threads are taken.
        inputs: of every call.
        weights: of a source that has none of its own.
        random: take seeded random weights for such a source.

    Raises:
        UsageError: there is no such source, it is no torch, or it takes other inputs.
        MissingDependency: torch is not installed.
        DeviceUnavailable: torch has no such device.
    """
    try:
        import torch

        from cnntk.exporters.sources.console import suppress_output
    except ImportError as error:
        raise MissingDependency(
            "torch is not installed, so it can't be measured against; run: pip install 'cnntk[export]'"
        ) from error
    if engine.device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceUnavailable(
            f"device {engine.device!r}: the installed torch has no CUDA; use device='cpu'"
        )
    with suppress_output():
        found = _opened(source, engine, weights, random)
        title = source or found.name
        given = in_order(inputs, [spec.name for spec in found.inputs], title)
        way = _Way(found, engine, [torch.from_numpy(array) for array in given.values()])
    before = torch.get_num_threads()
    torch.set_num_threads(engine.threads)
    try:
        with suppress_output():
            rivals = _eager(way, title), _compiled(way)
        yield rivals
    finally:
        torch.set_num_threads(before)


class _Way:
    """From the engine's inputs to torch's answers.

    Attributes:
        network: the torch module, on the engine's device.
        note: which torch, and what it does beside the network.
    """

    def __init__(self, found: Source, engine: Engine, tensors: Sequence[torch.Tensor]) -> None:
        import torch

        from cnntk.models.preprocess import Preprocess

        self.network = _network(found).to(engine.device)
        self.note = f"torch {torch.__version__}"
        self.name = engine.name
        self._device, self._tensors = engine.device, tuple(tensors)
        p = engine.spec.preprocessing if engine.spec is not None else None
        self._prepare: Callable[[torch.Tensor], torch.Tensor] | None = None
        if p is not None and engine.inputs[0].name == IMAGE_INPUT:
            images, dtype = Preprocess(p).to(engine.device), getattr(torch, found.inputs[0].dtype)
            self._prepare = lambda image: images(image).to(dtype)
            self.note += ", which prepares the images, too, as the file's graph does"

    def call(self, network: Callable[..., Any]) -> Arrays:
        """Once, from host to host, as `Engine.run`."""
        import torch

        from cnntk.exporters.sources.outputs import named_tensors

        with torch.inference_mode():
            first, *others = (tensor.to(self._device) for tensor in self._tensors)
            answer = network(first if self._prepare is None else self._prepare(first), *others)
            return {name: tensor.cpu().numpy() for name, tensor in named_tensors(answer).items()}


def _eager(way: _Way, title: str) -> Opponent:
    try:
        way.call(way.network)
    except (RuntimeError, TypeError, ValueError) as error:  # what a network raises at a wrong shape
        raise UsageError(f"torch:{title}: takes other inputs than {way.name}: {first_line(error)}") from error
    return Opponent("torch, eager", functools.partial(way.call, way.network), way.note)


def _compiled(way: _Way) -> Opponent:
    """The network alone is compiled: preprocessing may go by its data, at which torch's compiler stops."""
    import torch

    network = torch.compile(way.network, dynamic=False)
    try:
        way.call(network)
    except Exception as error:  # torch's compilers raise what they like; eager still counts
        why = f"failed: {first_line(error)}"
        if "InvalidCxxCompiler" in str(error):
            why = "needs a C++ compiler, and there is none; install one, like g++"
        return Opponent("torch, compiled", None, f"torch.compile {why}")
    return Opponent("torch, compiled", functools.partial(way.call, network), way.note)


def _network(found: Source) -> torch.nn.Module:
    if found.module is not None:
        return found.module
    if found.program is not None:
        return found.program.module()
    raise UsageError(f"torch:{found.name}: is an ONNX file; name it without torch: to measure against it")


def _opened(source: str, engine: Engine, weights: str | None, random: bool) -> Source:
    from cnntk.exporters.source import SourceOptions
    from cnntk.exporters.sources import open_source

    if source:
        shape = _image_shape(engine) if ":" in source else None
        options = SourceOptions(shape, weights, random=random, dtype=_dtype(engine.spec))
        return open_source(source, options)
    if weights is not None or random:
        raise UsageError("torch: weights and random are for torch:SOURCE; name the source")
    return open_source(*_own(engine))


def _own(engine: Engine) -> tuple[str, SourceOptions]:
    """What the model was exported from, where that can be told and made again.

    A spec names the network, but of its weights only the file's name, unless they are random.
    """
    from cnntk.exporters.source import SourceOptions

    spec = engine.spec
    if spec is not None and spec.digest and spec.digest == embedded_digest(os.fspath(shipped_model())):
        return str(shipped_checkpoint()), SourceOptions()
    network = spec.network if spec is not None else None
    said = str(spec.provenance.get("weights", "")) if spec is not None else ""
    if spec is not None and network is not None and ":" not in network.factory and said.startswith(_RANDOM):
        seed = int(said.removeprefix(_RANDOM))
        kwargs = network.kwargs
        options = SourceOptions(kwargs=kwargs, random=True, seed=seed, dtype=_dtype(spec))
        return network.factory, options
    known = f" It is a {network.factory}." if network is not None else ""
    raise UsageError(
        f"torch: {engine.name} does not say where its weights are from.{known} Name the checkpoint or source "
        "that it was exported from: torch:SOURCE"
    )


def _dtype(spec: ModelSpec | None) -> Literal["auto", "float32", "float16", "float64"]:
    """What the source was cast to, as the artifact says."""
    said = spec.provenance.get("dtype") if spec is not None else None
    return next((t for t in ("float32", "float16", "float64") if t == said), "auto")


def _image_shape(engine: Engine) -> tuple[int, ...] | None:
    """What the network takes, without the batch."""
    given = engine.inputs[0]
    if given.name == IMAGE_INPUT and engine.spec is not None and (p := engine.spec.preprocessing):
        return (p.channels, p.height, p.width)
    shape = tuple(size for size in given.shape[1:] if isinstance(size, int))
    return shape if len(shape) == len(given.shape) - 1 else None
