"""`Engine`: arrays in, arrays out."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Mapping
from math import isfinite
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy import vdot
from numpy.typing import NDArray

from cnntk.runtime.artifact.self_test import SelfTestResult, run_self_test
from cnntk.runtime.artifact.spec import ModelSpec, TensorSpec
from cnntk.runtime.batch_split import run_in_batches
from cnntk.runtime.contract import InputContract
from cnntk.runtime.errors import (
    CnntkError,
    DeviceUnavailable,
    InferenceError,
    InferenceTimeout,
    NonFiniteOutput,
    SelfTestFailed,
    UsageError,
)
from cnntk.runtime.example_inputs import example_inputs
from cnntk.runtime.log import log
from cnntk.runtime.session.binding import Binding, check_out, run_into
from cnntk.runtime.session.devices import Device, import_onnxruntime, resolve_device
from cnntk.runtime.session.finite import is_finite
from cnntk.runtime.session.placement import Placement, measure_placement
from cnntk.runtime.session.session_factory import (
    LoadedModel,
    SessionSettings,
    onnxruntime_errors,
    open_session,
    tensor_specs,
)
from cnntk.runtime.session.watchdog import LONGEST_TIMEOUT_S, clamp_timeout, deadline

__all__ = ["Engine"]

Arrays = dict[str, NDArray[Any]]
Model = str | os.PathLike[str] | bytes | BinaryIO

_WARM_UP_RUNS = 3


class _Unusual(Exception):  # noqa: N818 - never leaves this file
    """Inputs that need a second look."""


_NO_DTYPE = object()
_UNUSUAL = (_Unusual, KeyError, IndexError, AttributeError, TypeError)


class Engine:
    """Runs one model on one device.

    Args:
        model: path, bytes, or a file open for reading bytes, of an ``.onnx`` file.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``auto``, or another that `resolve_device` knows; never another
            one than was asked for. ``auto`` uses CUDA where it is available; `device_reason` says why.
        threads: on the CPU; by default one for each core that this process may use (affinity and the
            container's quota), and one for a model under a million multiply-adds, where a second brings
            nothing; ``"shared"`` for one pool that all engines of the process use, which onnxruntime then
            asks of every later session, those of other libraries, too.
        spin: whether idle threads wait busily, which answers sooner; by default yes, but not under a CPU
            quota.
        options: of the device's provider, as onnxruntime documents them.
        allow_nonfinite: whether NaN and infinity are answers; else they raise.
        share_weights: keep the weights in the memory that the ``.data`` file is mapped to, which processes
            share, at the price of speed; for a model with its weights beside it.
        cache: a folder for the model as onnxruntime has optimized it, to load sooner the next time.
        warm_up: run a few times now, so that the first call is no slower than the others.
        self_test: run the file's own self-test now.

    Attributes:
        name: of the file, for messages.
        spec: what the file says of itself; None for a file that cnntk did not make.
        inputs: name, dtype and shape of each input.
        outputs: name, dtype and shape of each output.
        device: what it runs on, ``cpu`` or ``cuda:0``.
        device_reason: why ``auto`` took it; empty where it was asked for by name.
        threads: how many it uses on the CPU.

    Raises:
        UsageError: no such file or device.
        ArtifactCorrupt: the file is damaged; any changed byte of an artifact is noticed.
        UnsupportedArtifact: the file is sound, but not for this onnxruntime or cnntk.
        DeviceUnavailable: the device can't be had.
        SelfTestFailed: the self-test was asked for, and the model answers otherwise here.

    An engine may be called from many threads at once. Pickled, it loads its file again. In a child made by
    fork it does so at the first call, because threads are not inherited; on CUDA it raises there.
    """

    def __init__(
        self,
        model: Model,
        device: str = "cpu",
        *,
        threads: int | Literal["shared"] | None = None,
        spin: bool | None = None,
        options: Mapping[str, Any] | None = None,
        allow_nonfinite: bool = False,
        share_weights: bool = False,
        cache: str | os.PathLike[str] | None = None,
        warm_up: bool = False,
        self_test: bool = False,
    ) -> None:
        if threads is not None and threads != "shared" and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads must be at least 1, or 'shared', got {threads!r}")
        self._model = _kept(model)
        self._asked = (device, dict(options or {}))
        self._settings = SessionSettings(threads, spin, share_weights, cache)
        self._allow_nonfinite = allow_nonfinite
        self._device, opened = self._opened(resolve_device(device, options), device)
        self.device = self._device.name
        self.device_reason = self._device.reason
        self.name = opened.name
        self.spec: ModelSpec | None = opened.spec
        self.inputs: tuple[TensorSpec, ...] = tensor_specs(opened.session.get_inputs())
        self.outputs: tuple[TensorSpec, ...] = tensor_specs(opened.session.get_outputs())
        self.threads = opened.threads
        self._contract = InputContract(self.inputs, self.name)
        # Where sizes are tied, every call takes the second look.
        tied = self._contract.ties_sizes
        self._dtypes = tuple((n, _NO_DTYPE if tied else dtype) for n, dtype in self._contract.dtypes)
        self._names = [spec.name for spec in self.outputs]
        self._floating = _floating(self.outputs, self.spec)
        self._failures = onnxruntime_errors()
        self._revival = threading.Lock()
        self._inherited = False
        self._stamp = _stamp(self._model)
        self._take(opened)
        _engines.add(self)
        if warm_up:
            self.warm_up()
        if self_test:
            self._require_self_test()

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        timeout: float | None = None,
        out: Mapping[str, NDArray[Any]] | None = None,
        allow_nonfinite: bool | None = None,
    ) -> Arrays:
        """Runs the model once.

        Args:
            inputs: an array for each of `inputs`, of its dtype and shape. Arrays that are not contiguous are
                copied, those of foreign byte order converted; other dtypes raise, float64 too: it is the
                caller who knows whether narrowing them loses anything.
            timeout: seconds after which the run is ended, with the node that it is in.
            out: arrays to write answers to, by output; C-contiguous, of the answer's dtype and shape. After
                an error they hold anything.
            allow_nonfinite: for this call, as the engine takes it.

        Returns:
            An array for each of `outputs`, by name; where ``out`` has one, that array. A batch of 0 has empty
            answers.

        Raises:
            InputError: a name, dtype or shape does not fit; ``out``, too.
            NonFiniteOutput: an answer holds NaN or infinity.
            InferenceTimeout: the time was over.
            InferenceError: onnxruntime failed.
        """
        # What follows costs every call, so it is written out: the right types, and nothing empty. Sizes are
        # onnxruntime's own check, which the contract explains.
        try:
            for name, dtype in self._dtypes:
                array = inputs[name]
                if (array.dtype is not dtype and array.dtype != dtype) or 0 in array.shape:
                    raise _Unusual
        except _UNUSUAL:
            self._contract.check(inputs)
            inputs = self._contract.native(inputs)
            if any(0 in array.shape for array in inputs.values()):
                return self._run_empty(inputs, timeout, out or {})
        if timeout is None and out is None:
            try:
                values = self._run(self._names, inputs, None)
            except self._failures as error:
                raise self._failed(inputs, error) from error
        else:
            values = self._run_watched(inputs, timeout, out or {})
        if not (self._allow_nonfinite if allow_nonfinite is None else allow_nonfinite):
            for i in self._floating:
                value = values[i]
                if not isfinite(vdot(value, value)) and not is_finite(value):
                    raise self._nonfinite(i, value)
        return dict(zip(self._names, values, strict=True))

    def run_many(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        batch_size: int | None = None,
        timeout: float | None = None,
    ) -> Arrays:
        """Runs a large batch in pieces, and puts the answers together in order.

        Args:
            inputs: as `run` takes them, of any batch size N, also where the model's own batch is fixed: then
                the last piece is padded by repeating its last image.
            batch_size: images that run together; by default the model's fixed batch, else 32.
            timeout: seconds for each piece.

        Returns:
            An array of N answers for each of `outputs`.

        Raises:
            InputError: the inputs have no common batch, or do not fit.
            InferenceError: onnxruntime failed, or an answer has no batch dimension.
        """

        def run(piece: Arrays) -> Arrays:
            return self.run(piece, timeout=timeout)

        return run_in_batches(run, self.inputs, self.name, inputs, batch_size)

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], *, outputs: Literal["host", "device"] = "host"
    ) -> Binding:
        """Inputs and outputs of fixed sizes in fixed memory on the device, to run again and again.

        Args:
            inputs: arrays of the dtypes and shapes that every run will have.
            outputs: whether answers are copied to the host, or left on the device, as DLPack.

        Raises:
            InputError: they do not fit.
        """
        self._contract.check(inputs)
        self._ensure_own()
        watched = () if self._allow_nonfinite else tuple(self._names[i] for i in self._floating)
        native = self._contract.native(inputs)
        return Binding(self._session, self._device, native, self._names, outputs, self.name, watched)

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Checks inputs without running the model.

        Raises:
            InputError: a name, dtype, rank or fixed size does not fit; says expected and got.
        """
        self._contract.check(inputs)

    def placement(self, inputs: Mapping[str, NDArray[Any]] | None = None) -> Placement:
        """How many nodes, and what share of the time, ran on which of onnxruntime's providers.

        It loads the model once more, with onnxruntime's profiler, and runs it a few times.

        Args:
            inputs: for the runs; by default seeded noise, of batch 1.

        Raises:
            UsageError: the model's sizes are open, so that inputs must be given.
        """
        arrays = dict(inputs) if inputs is not None else self._examples()
        self._contract.check(arrays)
        try:
            return measure_placement(lambda prefix: self._open(self._device, prefix), arrays)
        except self._failures as error:
            raise self._failed(arrays, error) from error

    def warm_up(self, inputs: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Runs a few times, so that memory is allocated and kernels are chosen before the first call.

        Args:
            inputs: of the sizes to come; by default seeded noise, of batch 1.

        Raises:
            UsageError: the model's sizes are open, so that inputs must be given.
        """
        arrays = dict(inputs) if inputs is not None else self._examples()
        for _ in range(_WARM_UP_RUNS):
            self.run(arrays, allow_nonfinite=True)

    def self_test(self) -> SelfTestResult:
        """Runs the inputs that the file prescribes and compares with the answers that it holds.

        Raises:
            UnsupportedArtifact: the file holds none.
            InferenceError: onnxruntime failed.
        """
        return run_self_test(lambda arrays: self.run(arrays, allow_nonfinite=True), self.spec, self.name)

    @property
    def image_sizes(self) -> Mapping[str, int] | None:
        """Sizes of an image that the graph need not resize; None where images don't enter the graph."""
        p = self.spec.preprocessing if self.spec is not None else None
        return None if p is None else p.image_sizes

    def __repr__(self) -> str:
        return f"Engine({self.name!r}, device={self.device!r}, threads={self.threads})"

    def __reduce__(self) -> tuple[Any, ...]:
        s = self._settings
        settings = {"threads": s.threads, "spin": s.spin, "share_weights": s.share_weights, "cache": s.cache}
        device, options = self._asked
        return _reload, (self._model, device, {**settings, "options": options}, self._allow_nonfinite)

    def _opened(self, device: Device, asked: str) -> tuple[Device, LoadedModel]:
        try:
            opened = self._open(device)
        except DeviceUnavailable as error:
            if asked != "auto" or device.name == "cpu":
                raise
            device = Device("cpu", resolve_device("cpu").provider, reason=f"auto: {error}")
            opened = self._open(device)
        if asked == "auto":
            log.info("%s: runs on %s (%s)", opened.name, device.name, device.reason)
        return device, opened

    def _open(self, device: Device, profile: str | None = None) -> LoadedModel:
        return open_session(self._model, device, self._settings, profile)

    def _take(self, opened: LoadedModel) -> None:
        self._session = opened.session
        # Not session.run: its checks cost as much as ours, and would be made twice.
        self._run = opened.session._sess.run

    def _run_watched(
        self, inputs: Mapping[str, NDArray[Any]], timeout: float | None, out: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        options = import_onnxruntime().RunOptions()
        seconds = LONGEST_TIMEOUT_S if timeout is None else clamp_timeout(timeout)
        self._ensure_own()
        try:
            with deadline(options, seconds):
                if out:
                    check_out(out, self.outputs, self._contract.sizes(inputs), self.name)
                    return run_into(self._session, inputs, self._names, out, options)
                return list(self._run(self._names, inputs, options))
        except self._failures as error:
            if options.terminate:
                raise InferenceTimeout(f"{self.name}: a run was ended after {seconds:g} s") from error
            raise self._failed(inputs, error) from error

    def _run_empty(
        self, inputs: Mapping[str, NDArray[Any]], timeout: float | None, out: Mapping[str, NDArray[Any]]
    ) -> Arrays:
        """Answers of a batch of 0, in the shapes that a batch of 1 has."""
        if any(0 in array.shape[1:] or not array.ndim for array in inputs.values()):
            raise self._contract.misfit(inputs, ": an image without pixels")
        check_out(out, self.outputs, self._contract.sizes(inputs), self.name)
        one = {
            name: np.zeros((1, *array.shape[1:]), array.dtype) if array.shape[0] == 0 else array
            for name, array in inputs.items()
        }
        answers = self.run(one, timeout=timeout, allow_nonfinite=True)
        return {name: out.get(name, value[:0] if value.ndim else value) for name, value in answers.items()}

    def _examples(self) -> Arrays:
        batch = next((s.shape[0] for s in self.inputs if s.shape and isinstance(s.shape[0], int)), 1)
        return example_inputs(self.inputs, int(batch), self.image_sizes)

    def _require_self_test(self) -> None:
        result = self.self_test()
        if not result.holds:
            worst = next(check for check in result.worst if not check.holds)
            raise SelfTestFailed(
                f"{self.name}: does not answer here what it answered when it was exported: {worst.output} is "
                f"off by {worst.error:.3g} in {worst.case}, {worst.bound:.3g} allowed. Try another "
                "onnxruntime, or export the model again for this device"
            )

    def _failed(self, inputs: Mapping[str, NDArray[Any]], error: Exception) -> Exception:
        try:
            self._contract.check(inputs)
        except CnntkError as misfit:
            return misfit
        return InferenceError(f"{self.name}: onnxruntime failed: {' '.join(str(error).split())[:300]}")

    def _nonfinite(self, output: int, value: NDArray[Any]) -> NonFiniteOutput:
        name = self._names[output]
        wrong = np.argwhere(~np.isfinite(value))
        at = ", ".join(map(str, wrong[0]))
        return NonFiniteOutput(
            f"{self.name}: {name}[{at}] is {value[tuple(wrong[0])]} ({len(wrong)} of {value.size} numbers "
            "are not finite). Look at the inputs for NaN; allow_nonfinite=True lets such answers through"
        )

    def _forget_threads(self) -> None:
        """In a child made by fork: the pool's threads and the GPU's context were not inherited.

        A lock of the session may have been held, too. The session that was inherited is never taken down:
        that would wait for its threads, which do not exist. A pool that all sessions share can't be made
        again; there the caller's thread does all the work.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session._sess))
        self._revival = threading.Lock()
        self._inherited = True
        self._run = self._run_revived

    def _run_revived(self, *arguments: Any) -> Any:
        self._ensure_own()
        return self._run(*arguments)

    def _ensure_own(self) -> None:
        """After a fork, a session of this process."""
        if self._inherited:
            with self._revival:
                if self._inherited:
                    self._revive()
                    self._inherited = False

    def _revive(self) -> None:
        if self.device.startswith(("cuda", "tensorrt")):
            raise DeviceUnavailable(
                f"device {self.device!r}: CUDA does not survive a fork. Make the Engine in the child, or "
                "start processes with the spawn method"
            )
        try:
            if _stamp(self._model) != self._stamp:
                raise UsageError(f"{self.name}: has changed")
            self._take(self._open(self._device))
        except CnntkError as error:
            log.info("after a fork it runs with one thread: %s", error)
            self._run = self._session._sess.run


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_engines):
        engine._forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _reload(model: str | bytes, device: str, settings: dict[str, Any], allow_nonfinite: bool) -> Engine:
    return Engine(model, device, allow_nonfinite=allow_nonfinite, **settings)


def _kept(model: Model) -> str | bytes:
    """What the model is loaded from, and loaded again from after pickling: its path, or its bytes."""
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model)
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    try:
        data = model.read()
    except (AttributeError, ValueError, OSError) as error:
        raise TypeError(
            f"model: expected a path, bytes or a file to read, got {type(model).__name__}"
        ) from error
    if not isinstance(data, bytes):
        raise TypeError("model: the file is open for text; open it with mode 'rb'")
    return data


def _floating(outputs: tuple[TensorSpec, ...], spec: ModelSpec | None) -> tuple[int, ...]:
    """Which outputs can hold NaN: those of floating point, and not the proven softmax of logits."""
    softmax = spec is not None and spec.head == "classifier"
    return tuple(
        i
        for i, output in enumerate(outputs)
        if output.dtype.startswith("float") and not (softmax and output.name == "probabilities")
    )


def _stamp(model: str | bytes) -> tuple[int, int] | None:
    """What tells a file that was not touched."""
    if isinstance(model, bytes):
        return None
    try:
        status = os.stat(model)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
