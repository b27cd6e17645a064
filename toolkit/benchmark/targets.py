"""Comparison targets of ``bench --against``: another file, torch or OpenVINO, on equal inputs and threads.

All of them are called in this process, so that their calls can be interleaved with the model's.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.arguments import check_target
from cnntk.runtime.artifact.digest import embedded_digest
from cnntk.runtime.artifact.spec import IMAGE_INPUT, ModelSpec
from cnntk.runtime.codec import NOT_IN_JSON
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import (
    DeviceUnavailable,
    InputError,
    UnsupportedArtifact,
    UsageError,
)
from cnntk.shipped import shipped_checkpoint, shipped_model

if TYPE_CHECKING:
    import torch

    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.source import Source

__all__ = ["MAX_REL_DIFF", "Target", "open_targets"]

MAX_REL_DIFF = 1e-3
"""Largest relative difference at which outputs count as the same: rounding, and pixel values that another
resize rounds the other way, stay below it; integers in place of floats do not."""

_RANDOM = "random, seed "
"""Beginning of ``provenance["weights"]`` of an artifact with random weights."""

_SEED_DIGITS = 18
"""Digits of the longest seed, which torch takes as an int64."""

Arrays = dict[str, NDArray[Any]]
_Call = Callable[[], Arrays]


@dataclass(frozen=True)
class Target:
    """Something that a model is compared with, and how its outputs differ from the model's.

    Attributes:
        name: Name for reports, like ``torch, compiled``.
        call: One run on the inputs; None if it is not available, and ``note`` says why.
        note: Remarks, about its outputs too; phrases separated by semicolons.
        max_rel_diff: Largest difference from the model's outputs, divided by the largest of them; infinite if
            a value is not finite (null in JSON); None if no output has the same shape, or there is no call.
        top1_agreement: Share of the inputs with the same largest output, 0 to 1; None as above.
    """

    JSON_PROPERTIES: ClassVar = ("available", "same_outputs")

    name: str
    call: _Call | None = field(repr=False, metadata=NOT_IN_JSON)
    note: str = ""
    max_rel_diff: float | None = None
    top1_agreement: float | None = None

    @property
    def available(self) -> bool:
        """Whether it can be run here."""
        return self.call is not None

    @property
    def same_outputs(self) -> bool:
        """Whether its outputs are the model's, up to a relative difference of 0.001."""
        return self.max_rel_diff is not None and self.max_rel_diff <= MAX_REL_DIFF


@contextmanager
def open_targets(
    name: str,
    engine: Engine,
    inputs: Mapping[str, NDArray[Any]],
    *,
    weights: str | None = None,
    random: bool = False,
    trust: bool = False,
) -> Iterator[tuple[Target, ...]]:
    """Prepares targets, to be called within the block; torch's number of threads is restored after it.

    Args:
        name: An ``.onnx`` file; ``openvino``, which runs the same file; ``torch:SOURCE``, with SOURCE as
            `cnntk.export` takes it, eager and compiled; or ``torch``, if the model's own source is known.
        engine: Engine of the model that is measured; targets run on its device with its number of threads.
        inputs: Inputs of every call.
        weights: Weights file of a SOURCE without weights of its own.
        random: Whether such a source gets seeded random weights.
        trust: Whether code that a source's file or the model names may run, as in `ExportOptions`.

    Yields:
        One target, or two. Each was called once to compare its outputs with the model's. Different outputs
        are no error, because comparing with another network can be what the user wants.

    Raises:
        UsageError: The name is unknown, or the target takes other inputs.
        MissingDependency: The target needs a package that is not installed.
        DeviceUnavailable: torch does not support the device.
    """
    check_target(name)
    if (weights is not None or random) and not name.startswith("torch"):
        raise UsageError(f"{name}: weights and random apply to torch:SOURCE; this target has its own weights")
    arrays, outputs = dict(inputs), engine.run(inputs, allow_nonfinite=True)
    if name.partition(":")[0] == "torch":
        with _torch_targets(name.partition(":")[2], engine, arrays, weights, random, trust) as targets:
            yield tuple(_compare_outputs(target, outputs) for target in targets)
    else:
        target = (_openvino if name == "openvino" else functools.partial(_onnx_file, name))(engine, arrays)
        yield (_compare_outputs(target, outputs),)


def _onnx_file(name: str, engine: Engine, inputs: Arrays) -> Target:
    other = Engine(name, engine.device, threads=engine.threads, allow_nonfinite=True)
    renamed = _rename_inputs(inputs, [spec.name for spec in other.inputs], name)
    try:
        other.run(renamed)
    except InputError as error:
        raise UsageError(
            f"{name}: the inputs differ from those of {engine.name}: it takes {_inputs_text(other)}, not "
            f"{_inputs_text(engine)}; compare the speed of files with the same inputs, like two exports"
        ) from error
    return Target(name, functools.partial(other.run, renamed))


def _inputs_text(engine: Engine) -> str:
    return ", ".join(f"{s.name}: {s.dtype} {'x'.join(map(str, s.shape))}" for s in engine.inputs)


def _openvino(engine: Engine, inputs: Arrays) -> Target:
    import openvino

    if engine.device != "cpu":
        raise UsageError(f"openvino: measured on the CPU only, not on {engine.device}")
    settings = {
        "INFERENCE_NUM_THREADS": engine.threads,
        "INFERENCE_PRECISION_HINT": "f32",  # it would take bfloat16 where the CPU has it
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        request = openvino.Core().compile_model(engine.name, "CPU", settings).create_infer_request()
    except RuntimeError as error:  # its own exceptions are of this kind
        raise UnsupportedArtifact(f"{engine.name}: OpenVINO fails on it: {_first_line(error)}") from error

    def call() -> Arrays:
        outputs = request.infer(inputs, share_inputs=True)
        return {output.get_any_name(): value for output, value in outputs.items()}

    quantized = engine.spec is not None and engine.spec.quantization is not None
    note = "computes in integers and float32" if quantized else "computes in float32"
    return Target(f"openvino {openvino.__version__.split('-')[0]}", call, note)


def _rename_inputs(inputs: Arrays, names: Sequence[str], target: str) -> Arrays:
    """``inputs`` under a target's input names: by name if all are equal, else in their order."""
    if len(names) != len(inputs):
        raise UsageError(f"{target}: has {len(names)} inputs, the model {len(inputs)}; can't compare them")
    if set(names) == set(inputs):
        return {name: inputs[name] for name in names}
    return dict(zip(names, inputs.values(), strict=True))


def _compare_outputs(target: Target, outputs: Arrays) -> Target:
    """``target`` with the differences of its outputs from the model's filled in."""
    if target.call is None:
        return target
    pairs = list(_output_pairs(outputs, target.call()))
    if not pairs:
        return replace(target, note=_joined(target.note, "no output has the shape of one of the model's"))
    diff = max(_rel_diff(*pair) for pair in pairs)
    agreement = min(float(np.mean(_top1(actual) == _top1(expected))) for expected, actual in pairs)
    note = "same outputs"
    if diff > MAX_REL_DIFF:
        note = f"outputs differ by {diff:.2g} of the largest; same top-1 for {agreement:.0%} of the inputs"
    return replace(target, note=_joined(target.note, note), max_rel_diff=diff, top1_agreement=agreement)


def _output_pairs(outputs: Arrays, target_outputs: Arrays) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Each output of a target, second, with the model's of that name, or else the closest of that shape."""
    for name, actual in target_outputs.items():
        named = [outputs[name]] if name in outputs else list(outputs.values())
        same_shape = [expected for expected in named if expected.shape == actual.shape]
        if same_shape:
            yield min(same_shape, key=lambda expected: _rel_diff(expected, actual)), actual


def _rel_diff(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    """Largest difference divided by the largest expected value; infinite if a value is not finite."""
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    difference = float(np.abs(a - b).max(initial=0.0))
    largest = float(np.abs(a).max(initial=0.0))
    return difference / (largest or 1.0) if np.isfinite(difference) else float("inf")


def _top1(output: NDArray[Any]) -> Any:
    return output.reshape(len(output) if output.ndim else 1, -1).argmax(axis=1)


def _joined(*phrases: str) -> str:
    return "; ".join(phrase for phrase in phrases if phrase)


def _first_line(error: BaseException) -> str:
    """The first line of a message that is not empty, cut to 200 characters."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:200]


@contextmanager
def _torch_targets(
    name: str, engine: Engine, inputs: Arrays, weights: str | None, random: bool, trust: bool
) -> Iterator[tuple[Target, ...]]:
    """The network in torch, eager and compiled, with the engine's number of threads within the block.

    If the file preprocesses images in its graph, torch preprocesses them in front of the network. A softmax
    that only the file has is not added: torch does that much less.
    """
    import torch

    from cnntk.exporters.sources.console import suppress_output

    if engine.device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceUnavailable(
            f"device {engine.device!r}: the installed torch has no CUDA; use device='cpu'"
        )
    with suppress_output():
        source = _open_source(name, engine, weights, random, trust)
        title = name or source.name
        renamed = _rename_inputs(inputs, [spec.name for spec in source.inputs], title)
        runner = _TorchRunner(source, engine, [torch.from_numpy(array) for array in renamed.values()])
    threads = torch.get_num_threads()
    torch.set_num_threads(engine.threads)
    try:
        with suppress_output():
            targets = _eager(runner, title), _compiled(runner)
        yield targets
    finally:
        torch.set_num_threads(threads)


class _TorchRunner:
    """Runs a torch network on the engine's inputs and device, from host arrays to host arrays."""

    def __init__(self, source: Source, engine: Engine, tensors: Sequence[torch.Tensor]) -> None:
        import torch

        from cnntk.models.preprocess import Preprocess

        self.network = _network(source).to(engine.device)
        self.note, self.source_notes = f"torch {torch.__version__}", source.notes
        self.model = engine.name
        self._device, self._tensors = engine.device, tuple(tensors)
        p = engine.spec.preprocessing if engine.spec is not None else None
        self._preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None
        if p is not None and engine.inputs[0].name == IMAGE_INPUT:
            module, dtype = Preprocess(p).to(engine.device), getattr(torch, source.inputs[0].dtype)
            self._preprocess = lambda image: module(image).to(dtype)
            self.note += ", preprocesses the images too, as the file's graph does"

    def run(self, network: Callable[..., Any]) -> Arrays:
        """One run, like `Engine.run`."""
        import torch

        from cnntk.exporters.sources.outputs import named_tensors

        with torch.inference_mode():
            first, *others = (tensor.to(self._device) for tensor in self._tensors)
            outputs = network(first if self._preprocess is None else self._preprocess(first), *others)
            return {name: tensor.cpu().numpy() for name, tensor in named_tensors(outputs).items()}


def _eager(runner: _TorchRunner, title: str) -> Target:
    try:
        runner.run(runner.network)
    except (RuntimeError, TypeError, ValueError) as error:  # what a network raises at a wrong shape
        message = f"torch:{title}: the inputs differ from those of {runner.model}: {_first_line(error)}"
        raise UsageError(message) from error
    note = _joined(*runner.source_notes, runner.note)
    return Target("torch, eager", functools.partial(runner.run, runner.network), note)


def _compiled(runner: _TorchRunner) -> Target:
    """Compiles the network alone: preprocessing may branch on its data, which stops torch's compiler."""
    import torch

    network = torch.compile(runner.network, dynamic=False)
    try:
        runner.run(network)
    except Exception as error:  # torch's compilers raise what they like; eager still counts
        why = f"failed: {_first_line(error)}"
        if "InvalidCxxCompiler" in str(error):
            why = "needs a C++ compiler, and none is installed; install one, like g++"
        return Target("torch, compiled", None, f"torch.compile {why}")
    return Target("torch, compiled", functools.partial(runner.run, network), runner.note)


def _network(source: Source) -> torch.nn.Module:
    if source.module is not None:
        return source.module
    if source.program is not None:
        return source.program.module()
    raise UsageError(f"torch:{source.name}: is an ONNX file; name it without torch: to measure against it")


def _open_source(name: str, engine: Engine, weights: str | None, random: bool, trust: bool) -> Source:
    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.sources import open_source

    if name:
        shape = _image_shape(engine) if ":" in name else None
        options = ExportOptions(shape, weights, random=random, trust=trust, dtype=_dtype(engine.spec))
        return open_source(name, options)
    if weights is not None or random:
        raise UsageError("torch: weights and random apply to torch:SOURCE; name the source")
    return open_source(*_source_of_model(engine, trust))


def _source_of_model(engine: Engine, trust: bool) -> tuple[str, ExportOptions]:
    """The source that the model was exported from, if it is known and can be opened again.

    A spec names the network, but of its weights only the file's name, unless they are random.
    """
    from cnntk.exporters.options import ExportOptions
    from cnntk.models.trust import check_network
    from cnntk.models.zoo import names

    spec = engine.spec
    if spec is not None and spec.digest and spec.digest == embedded_digest(os.fspath(shipped_model())):
        return str(shipped_checkpoint()), ExportOptions()
    architecture = ""
    if spec is not None and (network := spec.network) is not None:
        seed = str(spec.provenance.get("weights", "")).partition(_RANDOM)[2]
        if ":" not in network.factory and seed.isdecimal() and len(seed) <= _SEED_DIGITS:
            size = os.path.getsize(engine.name) + (spec.data.size_bytes if spec.data else 0)
            check_network(network, engine.name, weights_bytes=2 * size, trust=trust)  # int4 has two a byte
            if network.factory in names():
                options = ExportOptions(
                    kwargs=network.kwargs, random=True, seed=int(seed), dtype=_dtype(spec)
                )
                return network.factory, options
        architecture = f" It is a {network.factory}."
    raise UsageError(
        f"torch: {engine.name} does not name the file of its weights.{architecture} Name the checkpoint or "
        "source that it was exported from: torch:SOURCE"
    )


def _dtype(spec: ModelSpec | None) -> Literal["auto", "float32", "float16", "float64"]:
    """The dtype that the source was cast to, from the artifact's spec."""
    dtype = spec.provenance.get("dtype") if spec is not None else None
    return next((t for t in ("float32", "float16", "float64") if t == dtype), "auto")


def _image_shape(engine: Engine) -> tuple[int, ...] | None:
    """Shape of the network's input without the batch dimension; None if a dimension is dynamic."""
    first = engine.inputs[0]
    if first.name == IMAGE_INPUT and engine.spec is not None and (p := engine.spec.preprocessing):
        return (p.channels, p.height, p.width)
    shape = tuple(size for size in first.shape[1:] if isinstance(size, int))
    return shape if len(shape) == len(first.shape) - 1 else None
