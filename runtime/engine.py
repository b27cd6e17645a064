"""`Engine`: runs a model on one device, arrays in, arrays out."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy import vdot
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import ModelSpec, TensorSpec
from cnntk.runtime.contract import InputContract, is_finite
from cnntk.runtime.errors import (
    CnntkError,
    DeviceUnavailable,
    InferenceError,
    InferenceTimeout,
    NonFiniteOutput,
    SelfTestFailed,
    UsageError,
)
from cnntk.runtime.log import log
from cnntk.runtime.session.devices import Device, import_onnxruntime, require_onnxruntime, resolve_device
from cnntk.runtime.session.session_factory import (
    LoadedModel,
    SessionSettings,
    is_out_of_memory,
    onnxruntime_errors,
    open_session,
    tensor_specs,
)
from cnntk.runtime.session.time_limit import TimedCalls, clamp_timeout

if TYPE_CHECKING:
    from cnntk.runtime.artifact.self_test import SelfTestResult
    from cnntk.runtime.session.binding import Binding
    from cnntk.runtime.session.placement import Placement

__all__ = ["Engine"]

Arrays = dict[str, NDArray[Any]]
Model = str | os.PathLike[str] | bytes | BinaryIO

_WARM_UP_RUNS = 3


class _NeedsFullCheck(Exception):  # noqa: N818 - never leaves this file
    """Inputs that the fast check can't accept."""


_NO_DTYPE = object()
_NEED_FULL_CHECK = (_NeedsFullCheck, KeyError, IndexError, AttributeError, TypeError)


class Engine:
    """Runs one model on one device.

    Args:
        model: Path, bytes or binary file object of an ``.onnx`` file.
        device: Device name: ``cpu``, ``cuda``, ``cuda:1``, ``auto`` or another one of `resolve_device`. The
            model runs there or not at all. ``auto`` uses CUDA if it is available; `device_reason` has the
            reason.
        threads: Number of CPU threads. The default is one per core available to this process (by affinity and
            container quota), and 1 for a model under a million multiply-adds, where a second gains nothing.
            ``"shared"`` uses one pool for all engines of the process, which onnxruntime then also requires
            of all later sessions of other libraries.
        spin: Whether idle threads wait actively, which lowers latency. The default is yes, except under a CPU
            quota.
        options: Options of the device's provider, as onnxruntime documents them.
        allow_nonfinite: Whether outputs may contain NaN and infinity; else they raise.
        share_weights: Whether processes share the memory of the weights in an external ``.data`` file, at the
            cost of speed.
        cache: Folder for the model as optimized by onnxruntime, which loads faster the next time.
        load_timeout: Time limit in seconds for loading, which may take hours; needs onnxruntime 1.31.
        max_memory: Limit in bytes, one for all engines of the process that have it. A file whose weights, or
            largest activation for one image, are over it is refused before loading, and a run whose
            activations are over it raises. Weights are not part of the latter.
        warm_up: Whether to run the model a few times now, so that the first call is as fast as later ones.
        self_test: Whether to run the file's self-test now.

    Attributes:
        name: Name of the model in messages.
        spec: Spec of the model; None for a file that cnntk did not write.
        inputs: Name, dtype and shape of each input.
        outputs: Name, dtype and shape of each output.
        device: Device that runs the model, like ``cpu`` or ``cuda:0``.
        device_reason: Reason for the choice of ``auto``; empty for other devices.
        threads: Number of CPU threads.

    Raises:
        UsageError: The file or device does not exist.
        ArtifactCorrupt: The file is damaged; every changed byte of an artifact is detected.
        UnsupportedArtifact: The file is valid, but not for this version of onnxruntime or cnntk.
        DeviceUnavailable, MissingDependency: The device, or an onnxruntime recent enough, is not available.
        SelfTestFailed: The requested self-test failed.
        InferenceTimeout: Loading exceeded its time limit.
        OutOfMemory: The model needs more memory than there is, or than ``max_memory``.

    An engine may be called from many threads at once. Unpickling loads the file again. A forked child does so
    at the first call, because threads are not inherited; on CUDA it raises.
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
        load_timeout: float | None = None,
        max_memory: int | None = None,
        warm_up: bool = False,
        self_test: bool = False,
    ) -> None:
        if threads is not None and threads != "shared" and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads must be at least 1, or 'shared', got {threads!r}")
        self._model = _path_or_bytes(model)
        self._device_request = (device, dict(options or {}))
        self._settings = SessionSettings(threads, spin, share_weights, cache, load_timeout, max_memory)
        self._allow_nonfinite = allow_nonfinite
        self._device, loaded = self._load(resolve_device(device, options), device)
        self.device = self._device.name
        self.device_reason = self._device.reason
        self.name = loaded.name
        self.spec: ModelSpec | None = loaded.spec
        self.inputs: tuple[TensorSpec, ...] = tensor_specs(loaded.session.get_inputs())
        self.outputs: tuple[TensorSpec, ...] = tensor_specs(loaded.session.get_outputs())
        self.threads = loaded.threads
        self._contract = InputContract(self.inputs, self.name)
        # If sizes must be equal, every call needs the full check.
        tied = self._contract.ties_sizes
        self._dtypes = tuple((n, _NO_DTYPE if tied else dtype) for n, dtype in self._contract.dtypes)
        self._names = [spec.name for spec in self.outputs]
        self._checked_outputs = _checked_outputs(self.outputs, self.spec)
        self._failures = onnxruntime_errors()
        self._reopen_lock = threading.Lock()
        self._inherited = False
        self._timed_calls = TimedCalls()
        self._file_status = _file_status(self._model)
        self._use_session(loaded)
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
        allow_nonfinite: bool | None = None,
    ) -> Arrays:
        """Runs the model once.

        Args:
            inputs: Array for each input by name, with its dtype and shape. Arrays that are not contiguous are
                copied, those of foreign byte order converted. Other dtypes raise, including float64: only the
                caller knows whether a conversion loses anything.
            timeout: Time limit in seconds. The call returns half a second after it at the latest. The node
                that runs then goes on in its thread; until it ends, calls with a limit are refused.
            allow_nonfinite: Value for this call of the engine's argument of that name.

        Returns:
            Array for each output by name. Outputs of a batch of 0 are empty.

        Raises:
            InputError: A name, dtype or shape is wrong.
            NonFiniteOutput: An output contains NaN or infinity.
            InferenceTimeout: The time limit was exceeded.
            OutOfMemory: The batch needs more memory than there is, or than ``max_memory``.
            InferenceError: onnxruntime failed.
        """
        # Written out, because every call pays for it: dtypes are right, and no array is empty. onnxruntime
        # checks the sizes itself, and the contract explains its errors.
        try:
            for name, dtype in self._dtypes:
                array = inputs[name]
                if (array.dtype is not dtype and array.dtype != dtype) or 0 in array.shape:
                    raise _NeedsFullCheck
        except _NEED_FULL_CHECK:
            self._contract.check(inputs)
            inputs = self._contract.native(inputs)
            if any(0 in array.shape for array in inputs.values()):
                return self._run_empty(inputs, timeout)
        if timeout is None:
            try:
                values = self._run(self._names, inputs, None)
            except self._failures as error:
                raise self._run_error(inputs, error) from error
        else:
            values = self._run_within(inputs, timeout)
        if not (self._allow_nonfinite if allow_nonfinite is None else allow_nonfinite):
            for i in self._checked_outputs:
                value = values[i]
                if not isfinite(vdot(value, value)) and not is_finite(value):
                    raise self._nonfinite_error(i, value)
        return dict(zip(self._names, values, strict=True))

    def run_many(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        batch_size: int | None = None,
        timeout: float | None = None,
    ) -> Arrays:
        """Runs a large batch in smaller ones, and joins the outputs in order.

        Args:
            inputs: Arrays as for `run`, of any batch size N. If the model's batch size is fixed, the last
                batch is padded by repeating its last image.
            batch_size: Images per run. The default is the model's fixed batch size, else 32.
            timeout: Time limit of each run in seconds.

        Returns:
            Array (N, ...) for each output by name.

        Raises:
            InputError: The inputs have no common batch size, or a name, dtype or shape is wrong.
            InferenceError: onnxruntime failed, or an output has no batch dimension.
        """

        from cnntk.runtime.batch_split import run_in_batches

        run = functools.partial(self.run, timeout=timeout)
        return run_in_batches(run, self.inputs, self.name, inputs, batch_size)

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], *, outputs: Literal["host", "device"] = "host"
    ) -> Binding:
        """Binds inputs and outputs of fixed sizes to fixed memory on the device, for repeated runs.

        Args:
            inputs: Arrays with the dtypes and shapes of every run.
            outputs: Whether outputs are copied to the host, or stay on the device as DLPack.

        Raises:
            InputError: A name, dtype or shape is wrong.
        """
        from cnntk.runtime.session.binding import Binding

        self._contract.check(inputs)
        self._ensure_session()
        checked = () if self._allow_nonfinite else tuple(self._names[i] for i in self._checked_outputs)
        native = self._contract.native(inputs)
        return Binding(self._session, self._device, native, self._names, outputs, self.name, checked)

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Checks inputs without running the model.

        Raises:
            InputError: A name, dtype, rank or fixed size is wrong.
        """
        self._contract.check(inputs)

    def placement(self, inputs: Mapping[str, NDArray[Any]] | None = None) -> Placement:
        """Measures the number of nodes and the share of time of each onnxruntime provider.

        Loads the model once more, with onnxruntime's profiler, and runs it a few times.

        Args:
            inputs: Inputs of the runs. The default is seeded noise of batch size 1.

        Raises:
            UsageError: The model has free sizes, so that ``inputs`` are required.
        """
        from cnntk.runtime.session.placement import measure_placement

        arrays = dict(inputs) if inputs is not None else self._example_inputs()
        self._contract.check(arrays)
        try:
            return measure_placement(lambda prefix: self._open(self._device, prefix), arrays)
        except self._failures as error:
            raise self._run_error(arrays, error) from error

    def warm_up(self, inputs: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Runs the model a few times, so that memory is allocated and kernels are selected.

        Args:
            inputs: Inputs of the sizes to come. The default is seeded noise of batch size 1.

        Raises:
            UsageError: The model has free sizes, so that ``inputs`` are required.
        """
        arrays = dict(inputs) if inputs is not None else self._example_inputs()
        for _ in range(_WARM_UP_RUNS):
            self.run(arrays, allow_nonfinite=True)

    def self_test(self) -> SelfTestResult:
        """Runs the self-test of the file.

        Raises:
            UnsupportedArtifact: The file has no self-test.
            InferenceError: onnxruntime failed.
        """
        from cnntk.runtime.artifact.self_test import run_self_test

        return run_self_test(lambda arrays: self.run(arrays, allow_nonfinite=True), self.spec, self.name)

    @property
    def image_sizes(self) -> Mapping[str, int] | None:
        """Sizes of an image that needs no resize, by dimension; None without preprocessing in the spec."""
        p = self.spec.preprocessing if self.spec is not None else None
        return None if p is None else p.image_sizes

    def __repr__(self) -> str:
        return f"Engine({self.name!r}, device={self.device!r}, threads={self.threads})"

    def __reduce__(self) -> tuple[Any, ...]:
        device, options = self._device_request
        settings = {**asdict(self._settings), "options": options, "allow_nonfinite": self._allow_nonfinite}
        return functools.partial(Engine, self._model, device, **settings), ()

    def _load(self, device: Device, requested: str) -> tuple[Device, LoadedModel]:
        """Loads the model on ``device``; for ``auto``, on the CPU if that fails."""
        try:
            loaded = self._open(device)
        except DeviceUnavailable as error:
            if requested != "auto" or device.name == "cpu":
                raise
            device = Device("cpu", resolve_device("cpu").provider, reason=f"auto: {error}")
            loaded = self._open(device)
        if requested == "auto":
            log.info("%s: runs on %s (%s)", loaded.name, device.name, device.reason)
        return device, loaded

    def _open(self, device: Device, profile: str | None = None) -> LoadedModel:
        load = functools.partial(open_session, self._model, device, self._settings, profile)
        limit = self._settings.load_timeout
        if limit is None:
            return load()
        require_onnxruntime("1.31", "load_timeout")  # older ones stop all other threads while they load
        name = "<bytes>" if isinstance(self._model, bytes) else self._model
        return TimedCalls().call(load, clamp_timeout(limit), f"{name}: loading", lambda: None)

    def _use_session(self, loaded: LoadedModel) -> None:
        self._session = loaded.session
        # Not session.run: its checks cost as much as those of `run`, and would repeat them.
        self._run = loaded.session._sess.run

    def _run_within(self, inputs: Mapping[str, NDArray[Any]], timeout: float) -> list[NDArray[Any]]:
        options, seconds = import_onnxruntime().RunOptions(), clamp_timeout(timeout)
        self._ensure_session()
        call = functools.partial(self._run, self._names, inputs, options)
        cancel = functools.partial(setattr, options, "terminate", True)
        try:
            return list(self._timed_calls.call(call, seconds, f"{self.name}: a run", cancel))
        except self._failures as error:
            if options.terminate:
                raise InferenceTimeout(f"{self.name}: a run exceeded its limit of {seconds:g} s") from error
            raise self._run_error(inputs, error) from error

    def _run_empty(self, inputs: Mapping[str, NDArray[Any]], timeout: float | None) -> Arrays:
        """Returns the outputs of a batch of 0, with the shapes of a batch of 1."""
        if any(0 in array.shape[1:] or not array.ndim for array in inputs.values()):
            raise self._contract.mismatch_error(inputs, ": an image has no pixels")
        one = {
            name: np.zeros((1, *array.shape[1:]), array.dtype) if array.shape[0] == 0 else array
            for name, array in inputs.items()
        }
        outputs = self.run(one, timeout=timeout, allow_nonfinite=True)
        return {name: value[:0] if value.ndim else value for name, value in outputs.items()}

    def _example_inputs(self) -> Arrays:
        from cnntk.runtime.example_inputs import example_inputs

        batch = next((s.shape[0] for s in self.inputs if s.shape and isinstance(s.shape[0], int)), 1)
        return example_inputs(self.inputs, int(batch), self.image_sizes)

    def _require_self_test(self) -> None:
        result = self.self_test()
        if not result.holds:
            worst = next(check for check in result.worst if not check.holds)
            raise SelfTestFailed(
                f"{self.name}: fails its self-test on this device: max abs error of {worst.output} "
                f"{worst.error:.3g} (limit {worst.bound:.3g}; inputs: {worst.case}). Try another "
                "onnxruntime, or export the model again for this device"
            )

    def _run_error(self, inputs: Mapping[str, NDArray[Any]], error: Exception) -> Exception:
        try:
            self._contract.check(inputs)
        except CnntkError as mismatch:
            return mismatch
        if is_out_of_memory(error):
            from cnntk.runtime.artifact.memory import batch_error

            return batch_error(self.name, inputs, self.spec, self._settings.max_memory)
        return InferenceError(f"{self.name}: onnxruntime failed: {' '.join(str(error).split())[:300]}")

    def _nonfinite_error(self, output: int, value: NDArray[Any]) -> NonFiniteOutput:
        name = self._names[output]
        indices = np.argwhere(~np.isfinite(value))
        first = ", ".join(map(str, indices[0]))
        return NonFiniteOutput(
            f"{self.name}: {name}[{first}] is {value[tuple(indices[0])]} ({len(indices)} of {value.size} "
            "values are not finite). Check the inputs for NaN; allow_nonfinite=True accepts such outputs"
        )

    def _mark_inherited(self) -> None:
        """Marks the session in a forked child, which has neither its threads nor the GPU's context.

        A lock of the session may be held as well. The inherited session is never destroyed, because that
        would wait for its threads. A pool shared by all sessions can't be created again; the caller's thread
        then does all the work.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session._sess))
        self._reopen_lock = threading.Lock()
        self._timed_calls = TimedCalls()
        self._inherited = True
        self._run = self._reopen_and_run

    def _reopen_and_run(self, *arguments: Any) -> Any:
        self._ensure_session()
        return self._run(*arguments)

    def _ensure_session(self) -> None:
        """Opens a session of this process after a fork."""
        if self._inherited:
            with self._reopen_lock:
                if self._inherited:
                    self._reopen_after_fork()
                    self._inherited = False

    def _reopen_after_fork(self) -> None:
        if self.device.startswith(("cuda", "tensorrt")):
            raise DeviceUnavailable(
                f"device {self.device!r}: CUDA does not survive a fork. Create the Engine in the child, "
                "or start processes with the spawn method"
            )
        try:
            if _file_status(self._model) != self._file_status:
                raise UsageError(f"{self.name}: the file has changed")
            self._use_session(self._open(self._device))
        except CnntkError as error:
            log.info("runs with one thread after a fork: %s", error)
            self._run = self._session._sess.run


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_engines):
        engine._mark_inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _path_or_bytes(model: Model) -> str | bytes:
    """Returns the path or bytes from which the model is loaded, and loaded again after unpickling."""
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model)
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    try:
        data = model.read()
    except (AttributeError, ValueError, OSError) as error:
        raise TypeError(
            f"model: expected a path, bytes or a binary file, got {type(model).__name__}"
        ) from error
    if not isinstance(data, bytes):
        raise TypeError("model: the file is open in text mode; open it with mode 'rb'")
    return data


def _checked_outputs(outputs: tuple[TensorSpec, ...], spec: ModelSpec | None) -> tuple[int, ...]:
    """Returns the indices of outputs that may contain NaN: floats, but not the checked softmax of logits."""
    softmax = spec is not None and spec.head == "classifier"
    return tuple(
        i
        for i, output in enumerate(outputs)
        if output.dtype.startswith("float") and not (softmax and output.name == "probabilities")
    )


def _file_status(model: str | bytes) -> tuple[int, int] | None:
    """Returns size and modification time of a file, which differ after a change."""
    if isinstance(model, bytes):
        return None
    try:
        status = os.stat(model)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
