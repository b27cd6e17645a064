"""Loading of a model file into an onnxruntime session, with every failure as a `CnntkError`."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple

from cnntk.runtime.artifact.digest import final_metadata, verified_model
from cnntk.runtime.artifact.external import check_external_tensors, find_external_tensors, verified_data
from cnntk.runtime.artifact.protobuf import ExternalTensor, file_bytes, without_node_names
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec, TensorSpec
from cnntk.runtime.artifact.unsafe_nodes import check_nodes
from cnntk.runtime.artifact.validation import check_interface
from cnntk.runtime.codec import brief
from cnntk.runtime.errors import (
    ArtifactCorrupt,
    CnntkError,
    DeviceUnavailable,
    OutOfMemory,
    UnsupportedArtifact,
    UsageError,
)
from cnntk.runtime.files import check_model_file
from cnntk.runtime.log import log
from cnntk.runtime.record import Record
from cnntk.runtime.session.cores import cpu_quota, usable_cores
from cnntk.runtime.session.devices import Device, import_onnxruntime

__all__ = [
    "LoadedModel",
    "SessionSettings",
    "check_threads",
    "is_out_of_memory",
    "onnxruntime_errors",
    "open_session",
    "tensor_specs",
]

TINY_MULTIPLY_ADDS = 1_000_000
"""Multiply-adds of one image below which a second thread costs as much as it gains."""

_MIN_THREAD_LIMIT, _THREADS_PER_CORE = 64, 4

_DTYPES = {"float": "float32", "double": "float64"}
_NO_PREPACKING = "session.disable_prepacking"
_COPYING_OPTIMIZERS = ("NchwcTransformer",)
"""Optimizers that copy the weights of convolutions to another layout."""

_WEIGHTS_FILE = "session.optimized_model_external_initializers_file_name"
_WEIGHTS_MIN_BYTES = "session.optimized_model_external_initializers_min_size_in_bytes"
"""Options that write an optimized model with external weights; else it refers to the original file."""

_PACKED = "session.save_external_prepacked_constant_initializers"
"""Option that also writes weights as the kernels pack them, for mapping to memory."""

_SPIN, _ASSIGNMENT = "session.intra_op.allow_spinning", "session.record_ep_graph_assignment_info"
_SHARED_ARENA = "session.use_env_allocators"
_OUT_OF_MEMORY = "(?i)bad_alloc|Available memory of|Failed to allocate memory|out of memory"
_IR_VERSION = r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"
_OPSET = r"Opset (\d+) is under development.*?domain ([\w.]+) is till opset (\d+)"
_UNKNOWN_OPERATOR = r"Fatal error: ([\w.:]+)\(-?\d+\) is not a registered function/op"

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

_pool_lock = threading.Lock()
_pool_size = 0
"""Threads of the pool that all sessions of this process share; 0 for one pool per session."""

_arena_bytes = 0
"""``max_memory`` of this process's engines, whose sessions share one arena; 0 if none has it."""


class SessionSettings(Record):
    """Settings of a session, as `Engine` documents them.

    With ``share_weights``, four processes with VGG-11 take 1.3 times the memory of one, else 4 times. With a
    cache that costs no speed. Without one the weights are used as they are in the file, neither packed nor
    reordered, which costs 11 % at batch size 1 (``benchmarks/shared_weights.py``).

    Deep graphs load faster from a cache (ResNet-50 by a fifth); LeNet and VGG-11, which have little to
    optimize, do not (``benchmarks/load.py``). Its entries are as large as the model, or twice that with
    ``share_weights``.
    """

    threads: int | Literal["shared"] | None = None
    spin: bool | None = None
    share_weights: bool = False
    cache: str | os.PathLike[str] | None = None
    load_timeout: float | None = None
    max_memory: int | None = None

    def __post_init__(self) -> None:
        limit = self.max_memory
        if limit is not None and not (isinstance(limit, int) and 0 < limit < 1 << 63):
            raise ValueError(f"max_memory must be a whole number of bytes, at least 1, got {limit!r}")


class LoadedModel(NamedTuple):
    """A model in onnxruntime's InferenceSession; ``spec`` is None for a file that cnntk did not write."""

    session: Any
    spec: ModelSpec | None
    name: str
    threads: int


def open_session(
    model: str | os.PathLike[str] | bytes,
    device: Device,
    settings: SessionSettings | None = None,
    profile: str | None = None,
) -> LoadedModel:
    """Loads a model into an onnxruntime session on ``device`` and no other, and verifies its digest.

    ``profile`` is the prefix of the path of onnxruntime's profile; None for no profile.

    Raises:
        UsageError: The file does not exist.
        ArtifactCorrupt: The file is not a valid ONNX file, or differs from the exported one in any byte.
        UnsupportedArtifact: The file needs a later onnxruntime, or an operator that this one lacks.
        OutOfMemory: The model needs more memory than there is, or than ``settings.max_memory``.
        DeviceUnavailable: onnxruntime could not start the device, or runs no node there.
    """
    settings = settings or SessionSettings()
    source = model if isinstance(model, bytes) else check_model_file(model)
    name = "<bytes>" if isinstance(source, bytes) else source
    with _memory_errors(name), verified_model(source, name) as verified:
        entry = final_metadata(verified, METADATA_KEY)
        spec = None if entry is None else ModelSpec.from_json(entry, name)
        if settings.max_memory is not None:
            from cnntk.runtime.artifact.memory import check_memory

            check_memory(verified.model, name, spec, settings.max_memory)
        data_file = None if spec is None else spec.data
        tensors = _checked_tensors(verified.model, source, name)
        check_external_tensors(tensors, name, data_file, has_digest=verified.has_digest)
        threads = _threads(settings, spec)
        with verified_data(name, data_file) as confirm_data:
            factory = _SessionFactory(
                source if tensors else verified.model,
                name,
                device,
                settings,
                threads,
                profile,
                has_external_weights=bool(tensors),
                confirmations=(verified.confirm, confirm_data),
            )
            session = factory.create(has_digest=verified.has_digest)
    if spec is None:
        spec = _read_spec(session, name, has_digest=verified.has_digest)
    if spec is not None:
        try:
            check_interface(spec, tensor_specs(session.get_inputs()), tensor_specs(session.get_outputs()))
        except ValueError as error:
            raise ArtifactCorrupt(f"{name}: {error}") from error
    if not verified.has_digest:
        log.info("%s: has no digest, so damage can't be detected", name)
    return LoadedModel(session, spec, name, threads)


def _checked_tensors(data: str | bytes, source: str | bytes, name: str) -> tuple[ExternalTensor, ...]:
    """Checks what onnxruntime does not survive; returns the tensors outside the file."""
    tensors = find_external_tensors(data, name)
    check_nodes(file_bytes(data), name)
    if tensors and isinstance(source, bytes):
        raise UsageError(
            f"{name}: has external weights in {tensors[0].locations[-1]}, so it can't be loaded from "
            "bytes; pass its path"
        )
    return tensors


@contextmanager
def _memory_errors(name: str) -> Iterator[None]:
    """Turns errors of memory that are not onnxruntime's, as those of mapping a file, into `OutOfMemory`."""
    try:
        yield
    except CnntkError:
        raise
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            raise
        raise OutOfMemory(f"{name}: not enough memory to load it") from error


class _SessionFactory(NamedTuple):
    """Creates the session of one model; ``confirmations`` wait for checks in other threads."""

    model: str | bytes
    name: str
    device: Device
    settings: SessionSettings
    threads: int
    profile: str | None
    has_external_weights: bool
    confirmations: tuple[Callable[[], None], ...]

    def create(self, *, has_digest: bool) -> Any:
        """Creates the session, through the cache if there is one."""
        sharing = self.settings.share_weights and self.device.name == "cpu"
        folder = None
        if self.settings.cache is not None:
            from cnntk.runtime.session._cache import cache_key, create_folder, load_through_cache

            folder = create_folder(self.settings.cache)
        if folder is not None and not has_digest and self.has_external_weights:
            log.info("%s: is not cached, because its external weights have no digest", self.name)
            folder = None
        if sharing and not self.has_external_weights and folder is None:
            raise UsageError(
                f"{self.name}: its weights are inside the file, where they can't be shared. Export it with "
                "--external-data (external_data=True), or name a cache folder, for a copy of them there"
            )
        if folder is None:
            return self._load_original(None, sharing=sharing)
        return load_through_cache(
            folder,
            cache_key(self.model, self.device, sharing=sharing),
            self._load_optimized,
            lambda file: self._load_original(file, sharing=sharing),
            reload=sharing,
        )

    def _load_original(self, optimized: str | None, *, sharing: bool) -> Any:
        """Creates a session of the original model, which may write the optimized model to a file."""
        options = self._options()
        disabled: tuple[str, ...] = ()
        if optimized is not None:
            options.optimized_model_filepath = optimized
            if sharing or self.has_external_weights:
                weights = os.path.splitext(os.path.basename(optimized))[0] + ".data"
                options.add_session_config_entry(_WEIGHTS_FILE, weights)
                options.add_session_config_entry(_WEIGHTS_MIN_BYTES, "4096")
                options.add_session_config_entry(_PACKED, "1" if sharing else "0")
        elif sharing and self.has_external_weights:
            options.add_session_config_entry(_NO_PREPACKING, "1")
            disabled = _COPYING_OPTIMIZERS
        try:
            session = self._session(self.model, options, disabled)
        except _RepeatedNodeName:
            options.add_session_config_entry(_WEIGHTS_FOLDER, os.path.dirname(os.path.realpath(self.name)))
            session = self._session(without_node_names(file_bytes(self.model)), options, disabled)
        if optimized is not None:
            for confirm in self.confirmations:
                confirm()
        return session

    def _load_optimized(self, model: str | bytes) -> Any:
        """Creates a session of an optimized model from the cache."""
        options = self._options()
        options.graph_optimization_level = import_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
        return self._session(model, options)

    def _options(self) -> Any:
        options = import_onnxruntime().SessionOptions()
        options.log_severity_level = 4  # errors arrive as exceptions and need not be printed as well
        if self.settings.threads == "shared":
            _share_pool(self.threads)
        options.use_per_session_threads = not _pool_size
        if not _pool_size:
            options.intra_op_num_threads = self.threads
        if self.settings.max_memory is not None:
            _limit_arena(self.settings.max_memory)
            options.add_session_config_entry(_SHARED_ARENA, "1")
        spin = cpu_quota() is None if self.settings.spin is None else self.settings.spin
        options.add_session_config_entry(_SPIN, "1" if spin else "0")
        if self.device.name != "cpu" or self.profile is not None:
            options.add_session_config_entry(_ASSIGNMENT, "1")
        if self.profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = self.profile
        return options

    def _session(self, source: str | bytes, options: Any, disabled: tuple[str, ...] = ()) -> Any:
        ort, device = import_onnxruntime(), self.device
        ort.disable_telemetry_events()
        try:
            # Without enable_fallback=0, onnxruntime prints and uses the CPU when a provider fails.
            session = ort.InferenceSession(
                source, options, providers=device.providers, disabled_optimizers=disabled, enable_fallback=0
            )
        except onnxruntime_errors() as error:
            raise _load_error(self.name, device, error) from error
        if device.provider not in session.get_providers():
            raise DeviceUnavailable(
                f"device {device.name!r}: onnxruntime has {device.provider} but could not start it. Check "
                "the driver and the versions of the libraries that this onnxruntime needs"
            )
        if device.name != "cpu" and all(
            subgraph.ep_name != device.provider for subgraph in session.get_provider_graph_assignment_info()
        ):
            raise DeviceUnavailable(
                f"device {device.name!r}: {device.provider} supports no node of {self.name}; all would run "
                "on the CPU. Use device='cpu', or export the model with operators that the provider supports"
            )
        return session


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Returns the exceptions that onnxruntime raises; its own have no common base class."""
    state = import_onnxruntime().capi.onnxruntime_pybind11_state
    classes = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*classes, RuntimeError, ValueError, TypeError, MemoryError)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of onnxruntime is one of memory, of the machine, the process or the arena."""
    return isinstance(error, MemoryError) or re.search(_OUT_OF_MEMORY, str(error)) is not None


def tensor_specs(values: Any) -> tuple[TensorSpec, ...]:
    """Returns a `TensorSpec` for each of a session's inputs or outputs.

    An open dimension without a name, which is equal to no other, gets one: ``x_2`` for axis 2 of ``x``.

    Raises:
        ArtifactCorrupt: A name is not text, or has the character NUL, at which onnxruntime cuts it off.
        UnsupportedArtifact: A value is not a tensor.
    """
    try:
        names = "".join(value.name for value in values)
    except UnicodeDecodeError as error:
        raise ArtifactCorrupt(f"the name of an input or output is not valid text ({error})") from error
    if "\0" in names:
        raise ArtifactCorrupt(f"the name of an input or output contains the character NUL: {brief(names)}")
    for value in values:
        if not value.type.startswith("tensor("):
            raise UnsupportedArtifact(
                f"{value.name}: has the type {value.type}, expected a tensor; export the model without it "
                "(skl2onnx: zipmap=False)"
            )
    dtypes = [v.type.removeprefix("tensor(").removesuffix(")") for v in values]
    return tuple(
        TensorSpec(
            v.name,
            _DTYPES.get(dtype, dtype),
            tuple(f"{v.name}_{axis}" if size is None else size for axis, size in enumerate(v.shape)),
        )
        for v, dtype in zip(values, dtypes, strict=True)
    )


def check_threads(threads: int) -> None:
    """Refuses numbers of threads that would hang the machine: thousands on a few cores.

    Raises:
        UsageError: The number is above 64 and above four times the cores available to this process.
    """
    cores = usable_cores()
    limit = max(_MIN_THREAD_LIMIT, _THREADS_PER_CORE * cores)
    if threads > limit:
        raise UsageError(
            f"threads={threads}: the limit is {limit}, because this process may use {cores} "
            f"core{'s' * (cores != 1)}; more than {cores} only slow it down"
        )


def _threads(settings: SessionSettings, spec: ModelSpec | None) -> int:
    if _pool_size:
        if isinstance(settings.threads, int):
            raise UsageError(
                f"threads={settings.threads}: an engine of this process uses threads='shared', so all "
                f"onnxruntime sessions share its pool of {_pool_size}; omit threads"
            )
        return _pool_size
    if isinstance(settings.threads, int):
        check_threads(settings.threads)
        return settings.threads
    tiny = spec is not None and 0 < sum(layer.multiply_adds for layer in spec.layers) < TINY_MULTIPLY_ADDS
    return 1 if tiny and settings.threads is None else usable_cores()


def _share_pool(threads: int) -> None:
    """Creates the pool that all onnxruntime sessions of this process share, if there is none yet."""
    global _pool_size
    with _pool_lock:
        if not _pool_size:
            with suppress(*onnxruntime_errors()):  # the app has created one itself
                import_onnxruntime().set_global_thread_pool_sizes(threads, 1)
            _pool_size = threads


def _limit_arena(max_memory: int) -> None:
    """Creates the arena that all sessions with a limit share, if there is none yet."""
    global _arena_bytes
    ort = import_onnxruntime()
    with _pool_lock:
        if _arena_bytes and _arena_bytes != max_memory:
            raise UsageError(
                f"max_memory={max_memory}: all engines of a process share one limit, and an earlier one set "
                f"it to {_arena_bytes}; use the same"
            )
        if not _arena_bytes:
            memory = ort.OrtMemoryInfo(
                "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
            )
            arena = ort.OrtArenaCfg({"max_mem": max_memory, "arena_extend_strategy": 1})
            try:
                ort.create_and_register_allocator(memory, arena)
            except onnxruntime_errors() as error:
                raise UsageError(
                    f"max_memory: the app has created an allocator for all onnxruntime sessions: {error}"
                ) from error
            _arena_bytes = max_memory


def _read_spec(session: Any, name: str, *, has_digest: bool) -> ModelSpec | None:
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:
        raise ArtifactCorrupt(f"{name}: its metadata is not valid text ({error})") from error
    spec = None if text is None else ModelSpec.from_json(text, name)
    if spec is not None and spec.digest and not has_digest:
        raise ArtifactCorrupt(
            f"{name}: is damaged: its embedded digest is not at the end of the file. Copy or download it "
            "again; tools that rewrite the file invalidate its checks and digest"
        )
    return spec


class _RepeatedNodeName(ArtifactCorrupt):
    """onnxruntime refuses a graph in which two nodes have one name, though names of nodes mean nothing."""


def _load_error(name: str, device: Device, error: Exception) -> Exception:
    """Converts an error of onnxruntime to one with the cause and the fix."""
    from cnntk.runtime.artifact.compatibility import IR_VERSIONS, OPSETS, first_release  # only errors need it

    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return OutOfMemory(f"{name}: not enough memory to load it: {text[:300]}")
    if device.name != "cpu" and re.search(rf"(?i)provider|cuda|{device.provider}", text):
        return DeviceUnavailable(f"device {device.name!r}: onnxruntime could not start it: {text[:300]}")
    if "when using a global thread pool" in text:
        return UsageError(
            f"{name}: the app has created a thread pool for all onnxruntime sessions; use threads='shared'"
        )
    if "two nodes with same node name" in text:
        return _RepeatedNodeName(f"{name}: {text[:300]}")
    if "InvalidProtobuf" in type(error).__name__ or "parsing" in text:
        return ArtifactCorrupt(f"{name}: not a valid ONNX file, or damaged; export it again")
    version = import_onnxruntime().__version__
    if match := re.search(_IR_VERSION, text):
        return UnsupportedArtifact(
            f"{name}: has IR version {match[1]}; onnxruntime {version} supports up to {match[2]}. "
            f"{_update(first_release(IR_VERSIONS, int(match[1])))}, or export the model again with an older "
            "IR version (cnntk writes 10)"
        )
    if match := re.search(_UNKNOWN_OPERATOR, text):
        return UnsupportedArtifact(
            f"{name}: has the operator {match[1]}, which onnxruntime {version} lacks. Export the model again "
            "with standard operators; libraries of custom operators are not loaded"
        )
    if match := re.search(_OPSET, text):
        return UnsupportedArtifact(
            f"{name}: uses opset {match[1]} of {match[2]}; onnxruntime {version} supports up to {match[3]}. "
            f"{_update(first_release(OPSETS, int(match[1])))}, or export the model again with an older opset "
            "(cnntk writes 18)"
        )
    if "opset" in text.lower() or "IR version" in text or "NotImplemented" in type(error).__name__:
        return UnsupportedArtifact(f"{name}: onnxruntime {version} can't run it: {text[:300]}")
    return ArtifactCorrupt(f"{name}: onnxruntime rejects it: {text[:300]}")


def _update(release: str | None) -> str:
    """The fix for a model that is too new; ``release`` is the oldest onnxruntime that loads it, if known."""
    return "Update onnxruntime" if release is None else f"Update onnxruntime to {release} or newer"
