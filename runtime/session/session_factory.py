"""From a file to an onnxruntime session, with every failure as one of ours."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cnntk.runtime.artifact.digest import VerifiedModel, final_metadata, verified_model
from cnntk.runtime.artifact.external import check_external_tensors, find_external_tensors, verified_data
from cnntk.runtime.artifact.spec import METADATA_KEY, DataFile, ModelSpec, TensorSpec
from cnntk.runtime.errors import ArtifactCorrupt, DeviceUnavailable, UnsupportedArtifact, UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.log import log
from cnntk.runtime.session.cache import DATA_FILE, cache_key, create_folder, load_through_cache
from cnntk.runtime.session.cores import cpu_quota, usable_cores
from cnntk.runtime.session.devices import Device, import_onnxruntime

__all__ = [
    "LoadedModel",
    "SessionSettings",
    "check_threads",
    "onnxruntime_errors",
    "open_session",
    "tensor_specs",
]

TINY = 1_000_000
"""Multiply-adds of one image below which a second thread costs as much as it brings."""

_MANY_THREADS, _THREADS_A_CORE = 64, 4

_DTYPES = {"float": "float32", "double": "float64"}
_NO_PREPACKING = "session.disable_prepacking"
_COPYING_OPTIMIZERS = ("NchwcTransformer",)
"""It writes the weights of convolutions anew, in an order of its own."""

_WEIGHTS_APART = {
    "session.optimized_model_external_initializers_file_name": DATA_FILE,
    "session.optimized_model_external_initializers_min_size_in_bytes": "4096",
}
"""How an optimized model is written with its weights beside it; else it goes on naming the first file."""

_PACKED = "session.save_external_prepacked_constant_initializers"
"""Writes them as the kernels pack them, too, to be mapped."""

_SPIN, _ASSIGNMENT = "session.intra_op.allow_spinning", "session.record_ep_graph_assignment_info"
_IR_VERSION = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_OPSET = re.compile(r"Opset (\d+) is under development.*?domain ([\w.]+) is till opset (\d+)")

_pool_lock = threading.Lock()
_pool_size = 0
"""Threads of the pool that all sessions of this process share; 0 while each has its own."""


@dataclass(frozen=True)
class SessionSettings:
    """How a session runs.

    Attributes:
        threads: on the CPU; ``"shared"`` for one pool that all engines of the process use, which onnxruntime
            then asks of every later session, those of other libraries, too; None for one for each core that
            this process may use, and a single one for a tiny model.
        spin: whether idle threads wait busily for the next piece of work, which answers sooner and burns the
            CPU meanwhile; None for yes, except under a container's CPU quota, which spinning uses up.
        share_weights: whether processes on the CPU that load the same model share its weights' memory; for a
            model with its weights beside it, or with a cache. Four processes with VGG-11 take 1.3 times what
            one takes, ordinary ones 4 times. With a cache that costs no speed; without one the weights are
            used as they stand in the file, neither packed nor reordered, which costs 11 % at batch 1
            (``benchmarks/shared_weights.py``).
        cache: a folder that keeps the model as onnxruntime optimized it, made if missing. Deep graphs load
            sooner (ResNet-50 by a fifth); LeNet and VGG-11, in which there is little to optimize, don't
            (``benchmarks/load.py``). Entries are as large as the model, with ``share_weights`` twice that.
    """

    threads: int | Literal["shared"] | None = None
    spin: bool | None = None
    share_weights: bool = False
    cache: str | os.PathLike[str] | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A model in onnxruntime.

    Attributes:
        session: onnxruntime's InferenceSession.
        spec: what the file says of itself; None for a file that cnntk did not make.
        name: of the file, for messages.
        threads: how many it uses on the CPU.
    """

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
    """A model in an onnxruntime session on ``device``, and on no other; its digest is checked.

    Args:
        model: path or bytes of an ``.onnx`` file.
        device: from `resolve_device`.
        settings: how it runs.
        profile: where onnxruntime's profile goes, as the beginning of a path.

    Raises:
        UsageError: there is no such file.
        ArtifactCorrupt: it not a valid ONNX file, or not the one that was exported, by as little as a byte.
        UnsupportedArtifact: it needs a later onnxruntime, or an operator that this one lacks.
        DeviceUnavailable: onnxruntime could not bring the device up, or runs none of the nodes there.
    """
    settings = settings or SessionSettings()
    source = model if isinstance(model, bytes) else os.fspath(readable_file(model, "an ONNX model"))
    name = "<bytes>" if isinstance(source, bytes) else source
    with verified_model(source, name) as found:
        entry = final_metadata(found, METADATA_KEY)
        spec = None if entry is None else ModelSpec.from_json(entry, name)
        own = None if spec is None else spec.data
        beside = _checked_beside(source, found, own, name)
        threads = _threads(settings, spec)
        with verified_data(Path(name), own) as data_confirmed:
            loading = _Loading(
                model=source if beside else found.model,
                name=name,
                device=device,
                settings=settings,
                threads=threads,
                profile=profile,
                beside=beside,
                confirms=(found.confirm, data_confirmed),
            )
            session = loading.session(foreign=not found.has_digest)
    if spec is None:
        spec = _read_spec(session, name)
        if spec is not None and spec.digest and not found.has_digest:
            raise ArtifactCorrupt(
                f"{name}: is damaged: it states a SHA-256, but not where an export puts it. Copy or download "
                "it again; a tool that rewrites the file loses its proof"
            )
    if not found.has_digest:
        log.info("%s: has no digest; damage to it would go unnoticed", name)
    return LoadedModel(session, spec, name, threads)


@dataclass(frozen=True)
class _Loading:
    """What is known of a model, and wanted, before onnxruntime gets it.

    Attributes:
        model: path or bytes.
        name: of the file, for messages.
        device: where it will run.
        settings: how it runs.
        threads: on the CPU.
        profile: where onnxruntime's profile goes.
        beside: whether weights are beside the file.
        confirms: wait for the checks that run meanwhile, and raise.
    """

    model: str | bytes
    name: str
    device: Device
    settings: SessionSettings
    threads: int
    profile: str | None
    beside: bool
    confirms: tuple[Callable[[], None], ...]

    def session(self, *, foreign: bool) -> Any:
        """From the cache where there is one, else straight."""
        sharing = self.settings.share_weights and self.device.name == "cpu"
        folder = None if self.settings.cache is None else create_folder(self.settings.cache)
        if folder is not None and foreign and self.beside:
            log.info("%s: is not cached: it has weights beside it, and no digest of them", self.name)
            folder = None
        if sharing and not self.beside and folder is None:
            raise UsageError(
                f"{self.name}: its weights are inside it, where they can't be shared. Export it with "
                "--external-data (external_data=True), or give a cache folder, to keep a file of them there"
            )
        if folder is None:
            return self._straight(None, sharing=sharing)
        return load_through_cache(
            folder,
            cache_key(self.model, self.device, sharing=sharing),
            self._optimized,
            lambda file: self._straight(file, sharing=sharing),
            again=sharing,
        )

    def _straight(self, optimized: str | None, *, sharing: bool) -> Any:
        """A session of the model itself, which may write what it made of it to a file."""
        options = self._options()
        left_out: tuple[str, ...] = ()
        if optimized is not None:
            options.optimized_model_filepath = optimized
            if sharing or self.beside:
                for key, value in _WEIGHTS_APART.items():
                    options.add_session_config_entry(key, value)
                options.add_session_config_entry(_PACKED, "1" if sharing else "0")
        elif sharing and self.beside:
            options.add_session_config_entry(_NO_PREPACKING, "1")
            left_out = _COPYING_OPTIMIZERS
        session = _session(self.model, self.name, self.device, options, left_out)
        if optimized is not None:
            for confirm in self.confirms:
                confirm()
        return session

    def _optimized(self, model: str | bytes) -> Any:
        """A session of what the cache keeps."""
        options = self._options()
        options.graph_optimization_level = import_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
        return _session(model, self.name, self.device, options)

    def _options(self) -> Any:
        return _options(self.device, self.settings, self.threads, self.profile)


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its own exceptions share no base class, and bad names bring others."""
    state = import_onnxruntime().capi.onnxruntime_pybind11_state
    own = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*own, RuntimeError, ValueError, TypeError)


def tensor_specs(values: Any) -> tuple[TensorSpec, ...]:
    """`TensorSpec` of each input or output that a session tells of."""
    return tuple(TensorSpec(v.name, _dtype(v.type), tuple(v.shape)) for v in values)


def check_threads(threads: int) -> None:
    """Refuses what would hang the machine: thousands of threads that take turns on a few cores.

    Raises:
        UsageError: it is more than 64 and more than four times the cores that this process may use.
    """
    cores = usable_cores()
    most = max(_MANY_THREADS, _THREADS_A_CORE * cores)
    if threads > most:
        raise UsageError(
            f"threads={threads}: {most} at most, as this process may use {cores} core{'s' * (cores != 1)}; "
            f"more than {cores} only slow it down"
        )


def _threads(settings: SessionSettings, spec: ModelSpec | None) -> int:
    if _pool_size:
        if isinstance(settings.threads, int):
            raise UsageError(
                f"threads={settings.threads}: an engine of this process asked for threads='shared', and "
                f"onnxruntime lets all of its sessions share that pool of {_pool_size}; leave threads out"
            )
        return _pool_size
    if isinstance(settings.threads, int):
        check_threads(settings.threads)
        return settings.threads
    tiny = spec is not None and 0 < sum(layer.multiply_adds for layer in spec.layers) < TINY
    return 1 if tiny and settings.threads is None else usable_cores()


def _options(device: Device, settings: SessionSettings, threads: int, profile: str | None) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong arrives as an exception, and once
    if settings.threads == "shared":
        _share_pool(threads)
    options.use_per_session_threads = not _pool_size
    if not _pool_size:
        options.intra_op_num_threads = threads
    spin = cpu_quota() is None if settings.spin is None else settings.spin
    options.add_session_config_entry(_SPIN, "1" if spin else "0")
    if device.name != "cpu" or profile is not None:
        options.add_session_config_entry(_ASSIGNMENT, "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return options


def _share_pool(threads: int) -> None:
    """Makes the pool that all of onnxruntime's sessions in this process share, if there is none yet."""
    global _pool_size
    with _pool_lock:
        if not _pool_size:
            with suppress(*onnxruntime_errors()):  # the app has made one itself
                import_onnxruntime().set_global_thread_pool_sizes(threads, 1)
            _pool_size = threads


def _session(
    source: str | bytes, name: str, device: Device, options: Any, left_out: tuple[str, ...] = ()
) -> Any:
    ort = import_onnxruntime()
    ort.disable_telemetry_events()
    try:
        # Without enable_fallback=0 it prints, and tries again on the CPU, when a provider fails.
        session = ort.InferenceSession(
            source, options, providers=device.providers, disabled_optimizers=left_out, enable_fallback=0
        )
    except onnxruntime_errors() as error:
        raise _explain(name, device, error) from error
    if device.provider not in session.get_providers():
        raise DeviceUnavailable(
            f"device {device.name!r}: onnxruntime offers {device.provider} but could not start it. Look at "
            "the driver, and at the versions of the libraries that this onnxruntime asks for"
        )
    if device.name != "cpu" and not _assigned(session, device.provider):
        raise DeviceUnavailable(
            f"device {device.name!r}: {device.provider} takes none of the nodes of {name}; all would run on "
            "the CPU. Ask for device='cpu', or export the model so that it suits that provider"
        )
    return session


def _assigned(session: Any, provider: str) -> bool:
    """Whether onnxruntime gave the provider any node; True where it is too old to tell."""
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    return tell is None or any(part.ep_name == provider for part in tell())


def _checked_beside(model: str | bytes, found: VerifiedModel, own: DataFile | None, name: str) -> bool:
    """Whether the model has weights beside it; raises where they are not what they should be."""
    places = find_external_tensors(found.model, name)
    if places and isinstance(model, bytes):
        raise UsageError(
            f"{name}: has weights beside its file, in {places[0].locations[-1]}, so it can't be loaded from "
            "bytes; give its path"
        )
    check_external_tensors(places, Path(name), own, has_digest=found.has_digest)
    return bool(places)


def _read_spec(session: Any, where: str) -> ModelSpec | None:
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:
        raise ArtifactCorrupt(f"{where}: its metadata is no text ({error})") from error
    return None if text is None else ModelSpec.from_json(text, where)


def _dtype(kind: str) -> str:
    """``tensor(float)`` to ``float32``."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(name, name)


def _explain(name: str, device: Device, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if device.name != "cpu" and re.search(rf"(?i)provider|cuda|{device.provider}", text):
        return DeviceUnavailable(f"device {device.name!r}: onnxruntime could not start it: {text[:300]}")
    if "when using a global thread pool" in text:
        return UsageError(
            f"{name}: the app has set a pool of threads for all of onnxruntime; use threads='shared'"
        )
    if "InvalidProtobuf" in type(error).__name__ or "parsing" in text:
        return ArtifactCorrupt(f"{name}: not a valid ONNX file, or damaged; export it again")
    version = import_onnxruntime().__version__
    if match := _IR_VERSION.search(text):
        return UnsupportedArtifact(
            f"{name}: is of IR version {match[1]}; onnxruntime {version} reads up to {match[2]}. "
            "Update onnxruntime, or export the model again with an older IR (cnntk writes IR 10)"
        )
    if match := _OPSET.search(text):
        return UnsupportedArtifact(
            f"{name}: uses opset {match[1]} of {match[2]}; onnxruntime {version} knows up to {match[3]}. "
            "Update onnxruntime, or export the model again with an older opset (cnntk writes opset 18)"
        )
    if "opset" in text.lower() or "IR version" in text or "NotImplemented" in type(error).__name__:
        return UnsupportedArtifact(f"{name}: onnxruntime {version} can't run it: {text[:300]}")
    return ArtifactCorrupt(f"{name}: onnxruntime refuses it: {text[:300]}")
