import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import psutil
import pytest

from cnntk.runtime import ArtifactCorrupt, DeviceUnavailable, Engine, InputError, UnsupportedArtifact
from cnntk.runtime.errors import (
    InferenceError,
    InferenceTimeout,
    MissingDependency,
    NonFiniteOutput,
    SelfTestFailed,
    UsageError,
)
from cnntk.runtime.session.cores import usable_cores
from cnntk.runtime.session.devices import import_onnxruntime, release_numbers

BATCH = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)


def test_answers_by_name(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    answers = engine.run({"input": BATCH})
    assert list(answers) == ["logits", "probabilities"]
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, atol=1e-6)
    assert engine.spec is not None
    assert engine.spec.name == "tiny"
    assert engine.inputs[0].shape == ("N", 1, 4, 4)
    assert engine.device == "cpu"


def test_takes_bytes_and_foreign_files(tiny_onnx: Path, foreign_onnx: Path) -> None:
    expected = Engine(tiny_onnx).run({"input": BATCH})["logits"]
    assert np.array_equal(Engine(tiny_onnx.read_bytes()).run({"input": BATCH})["logits"], expected)
    foreign = Engine(foreign_onnx)
    assert foreign.spec is None
    assert np.array_equal(foreign.run({"input": BATCH})["logits"], expected)


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        ({}, "got nothing"),
        ({"image": BATCH}, r"got image: float32 \[3, 1, 4, 4\]"),
        ({"input": BATCH.astype(np.float64)}, "got input: float64"),
        ({"input": BATCH.astype(">f8")}, "float64 in foreign byte order"),
        ({"input": BATCH[0]}, r"got input: float32 \[1, 4, 4\]"),
        ({"input": BATCH.transpose(0, 2, 3, 1)}, r"got input: float32 \[3, 4, 4, 1\]"),
        ({"input": BATCH, "more": BATCH}, "more: float32"),
    ],
    ids=["missing", "name", "dtype", "byte order", "rank", "layout", "extra"],
)
def test_misfits_say_expected_and_got(tiny_onnx: Path, inputs: dict[str, np.ndarray], got: str) -> None:
    with pytest.raises(InputError, match=rf"expected input: float32 \[N, 1, 4, 4\]; .*{got}"):
        Engine(tiny_onnx).run(inputs)


def test_files_that_are_no_model(tmp_path: Path, tiny_onnx: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    for path, error, message in [
        (tmp_path / "gone.onnx", UsageError, "no such file"),
        (tmp_path, UsageError, "is a folder"),
        (text, ArtifactCorrupt, "not a valid ONNX file"),
    ]:
        with pytest.raises(error, match=message) as caught:
            Engine(path)
        assert str(path) in str(caught.value)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(tiny_onnx.read_bytes()[:-40])
    with pytest.raises(ArtifactCorrupt):
        Engine(cut)


def test_a_later_opset_is_unsupported(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    model.opset_import[0].version = 99
    with pytest.raises(
        UnsupportedArtifact, match=r"uses opset 99 of ai.onnx; onnxruntime [\d.]+ supports up to \d+"
    ):
        Engine(model.SerializeToString())


def test_a_later_ir_is_unsupported(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    model.ir_version = 99
    with pytest.raises(
        UnsupportedArtifact, match=r"IR version 99; onnxruntime [\d.]+ supports up to \d+\. Update"
    ):
        Engine(model.SerializeToString())


def test_cuda_is_never_the_cpu_unasked(tiny_onnx: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert Engine(tiny_onnx, "cuda").device == "cuda:0"
    else:
        with pytest.raises(DeviceUnavailable, match=r"was built without CUDA.*cnntk\[gpu\]"):
            Engine(tiny_onnx, "cuda")
        assert Engine(tiny_onnx, "auto").device == "cpu"


@pytest.mark.parametrize("name", ["CUDA", "tpu", "cuda:", "cuda:-1", ""])
def test_unknown_devices(tiny_onnx: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^unknown device .*; use cpu, cuda"):
        Engine(tiny_onnx, name)


def test_threads(tiny_onnx: Path) -> None:
    assert Engine(tiny_onnx, threads=1).threads == 1
    with pytest.raises(ValueError, match="at least 1"):
        Engine(tiny_onnx, threads=0)


def test_threads_beyond_reason_are_refused(tiny_onnx: Path) -> None:
    most = max(64, 4 * usable_cores())
    with pytest.raises(
        UsageError, match=rf"threads={most + 1}: the limit is {most}, because this process may use"
    ):
        Engine(tiny_onnx, threads=most + 1)
    assert Engine(tiny_onnx, threads=most).threads == most


def test_many_threads_get_the_same_answers(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    expected = engine.run({"input": BATCH})["logits"]
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: engine.run({"input": BATCH})["logits"], range(400)):
            assert np.array_equal(answer, expected)


def test_pickled_it_loads_again(tiny_onnx: Path) -> None:
    again = pickle.loads(pickle.dumps(Engine(tiny_onnx, threads=1)))
    assert again.threads == 1
    assert again.run({"input": BATCH})["logits"].shape == (3, 3)


LOOP = """<ir_version: 10, opset_import: ["" : 18]>
endless (float[N,3] x) => (float[N,3] y) {
    trips = Constant <value = int64 {4000000000000000000}> ()
    always = Constant <value = bool {1}> ()
    y = Loop (trips, always, x) <body = b (int64 i, bool c, float[N,3] s) => (bool c2, float[N,3] s2) {
        c2 = Identity (c)
        s2 = Neg (s)
    }>
}"""


EMPTY_LOOP = """<ir_version: 10, opset_import: ["" : 18]>
endless (float[N,3] x) => (float[N,3] y) {
    trips = Constant <value = int64 {4000000000000000000}> ()
    always = Constant <value = bool {1}> ()
    y = Loop (trips, always, x) <body = b (int64 i, bool c, float[N,3] s) => (bool c, float[N,3] s) {}>
}"""

SLOW_TO_LOAD = """<ir_version: 10, opset_import: ["" : 18]>
slow (float[N,3] x) => (float[N,3] y) {
    shape = Constant <value = int64[2] {6000, 6000}> ()
    square = ConstantOfShape (shape)
    product = MatMul (square, square)
    largest = ReduceMax <keepdims = 0> (product)
    y = Add (x, largest)
}"""


HUGE = """<ir_version: 10, opset_import: ["" : 18]>
huge (float[N,1] x) => (float[A,B] y) {
    shape = Constant <value = int64[2] {1000, 1000000}> ()
    y = Expand (x, shape)
}"""

HUGE_COMPUTED = """<ir_version: 10, opset_import: ["" : 18]>
huge (float[N,1] x) => (float[N] y) {
    shape = Constant <value = int64[2] {1000, 1000}> ()
    thousand = Constant <value = int64[1] {1000}> ()
    larger = Mul (shape, thousand)
    all = Expand (x, larger)
    y = ReduceMax <keepdims = 0> (all)
}"""


def built(text: str) -> bytes:
    return onnx.parser.parse_model(text).SerializeToString()


def forked(call: Callable[[], object]) -> object:
    """What ``call`` returns in a child made by fork."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with os.fdopen(writer, "wb") as stream:
                pickle.dump(call(), stream)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(data)


def tasks() -> int:
    return len(os.listdir("/proc/self/task"))


def test_takes_a_file_object(tiny_onnx: Path) -> None:
    with tiny_onnx.open("rb") as stream:
        engine = Engine(stream)
    assert pickle.loads(pickle.dumps(engine)).run({"input": BATCH})["logits"].shape == (3, 3)
    with tiny_onnx.open(encoding="latin-1") as stream, pytest.raises(TypeError, match="mode 'rb'"):
        Engine(stream)
    with pytest.raises(TypeError, match="expected a path, bytes or a binary file"):
        Engine(3)


def test_foreign_byte_order_and_odd_strides_change_no_answer(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    expected = engine.run({"input": BATCH})["logits"]
    wide = np.zeros((6, 1, 4, 8), np.float32)
    wide[::2, :, :, ::2] = BATCH
    for same in (BATCH.astype(">f4"), wide[::2, :, :, ::2], BATCH[::-1, :, ::-1][::-1, :, ::-1]):
        assert np.array_equal(engine.run({"input": same})["logits"], expected)
    assert not np.array_equal(engine.run({"input": BATCH[::-1]})["logits"], expected)


def test_a_batch_of_none_has_empty_answers(tiny_onnx: Path) -> None:
    answers = Engine(tiny_onnx).run({"input": BATCH[:0]})
    assert {k: (v.shape, v.dtype.name) for k, v in answers.items()} == {
        "logits": ((0, 3), "float32"),
        "probabilities": ((0, 3), "float32"),
    }


def test_an_image_without_pixels_is_refused() -> None:
    engine = Engine(
        built('<ir_version: 10, opset_import: ["" : 18]> g (float[N,W] x) => (float[N,W] y) { y = Abs (x) }')
    )
    with pytest.raises(InputError, match=r"got x: float32 \[0, 0\]: an image has no pixels"):
        engine.run({"x": np.zeros((0, 0), np.float32)})


def test_answers_that_are_no_numbers_raise_unless_allowed() -> None:
    model = built(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y) { y = Log (x) }'
    )
    strict, lax = Engine(model), Engine(model, allow_nonfinite=True)
    wrong = {"x": np.array([[1, 1, 1], [1, 0, -1]], np.float32)}
    for run in (strict.run, lambda x: lax.run(x, allow_nonfinite=False), lambda x: strict.run(x, timeout=60)):
        with pytest.raises(NonFiniteOutput, match=r"y\[1, 1\] is -inf .2 of 6 values"):
            run(wrong)
    assert np.isnan(lax.run(wrong)["y"][1, 2])
    assert np.isnan(strict.run(wrong, allow_nonfinite=True)["y"][1, 2])
    large = {"x": np.full((1, 3), 3e38, np.float32)}
    assert np.isfinite(strict.run(large)["y"]).all()


def test_a_run_that_does_not_end_is_ended() -> None:
    engine = Engine(built(LOOP), threads=1)
    inputs = {"x": np.ones((1, 3), np.float32)}
    with pytest.raises(InferenceTimeout, match=r"exceeded its limit of 0\.2 s") as caught:
        engine.run(inputs, timeout=0.2)
    assert isinstance(caught.value, TimeoutError)


def test_a_node_that_does_not_end_is_left() -> None:
    """onnxruntime does not ask whether to terminate between iterations without nodes."""
    code = f"""
import numpy as np
from cnntk.runtime import Engine, InferenceTimeout
engine = Engine({built(EMPTY_LOOP)!r}, threads=1)
for _ in range(2):
    try:
        engine.run({{"x": np.ones((1, 3), np.float32)}}, timeout=0.2)
    except InferenceTimeout as error:
        print(error)
print("ends")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    first, second, end = run.stdout.splitlines()
    assert "exceeded its limit of 0.2 s, and goes on" in first
    assert "is refused" in second
    assert end == "ends"


@pytest.mark.parametrize("max_memory", [0, -1, 1e9, "1 GB", 1 << 63])
def test_a_limit_of_memory_is_a_number_of_bytes(max_memory: int) -> None:
    with pytest.raises(ValueError, match=r"^max_memory must be a whole number of bytes"):
        Engine(built(LOOP), max_memory=max_memory)


def test_loading_has_a_time_limit() -> None:
    """onnxruntime computes constants while it loads."""
    version = import_onnxruntime().__version__
    if release_numbers(version) < (1, 31):
        with pytest.raises(MissingDependency, match=r"is too old; load_timeout needs 1\.31 or newer"):
            Engine(built(LOOP), load_timeout=60)
        return
    code = f"""
from cnntk.runtime import Engine, InferenceTimeout
try:
    Engine({built(SLOW_TO_LOAD)!r}, threads=1, load_timeout=0.2)
except InferenceTimeout as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.startswith("<bytes>: loading exceeded its limit of 0.2 s, and goes on")
    assert Engine(built(LOOP), threads=1, load_timeout=60).run  # in time


def test_memory_over_the_limit_is_refused() -> None:
    """In a process of its own, because the limit is the process's."""
    code = f"""
import numpy as np
from cnntk.runtime import Engine, OutOfMemory
from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_model

def attempt(call):
    try:
        call()
    except (OutOfMemory, UsageError) as error:
        return f"{{type(error).__name__}}: {{error}}"
    return "done"

def run(batch):
    return lambda: engine.run({{"image": np.zeros((batch, 28, 28, 1), np.uint8)}})

limit = 20_000_000
engine = Engine(shipped_model(), threads=1, max_memory=limit)
print(attempt(run(1)))
print(attempt(run(5000)))
print(attempt(run(1)))
print(attempt(lambda: Engine({built(HUGE)!r}, max_memory=limit)))
computed = Engine({built(HUGE_COMPUTED)!r}, threads=1, max_memory=limit)
print(attempt(lambda: computed.run({{"x": np.ones((1, 1), np.float32)}})))
print(attempt(lambda: Engine(shipped_model(), threads=1, max_memory=1)))
print(attempt(lambda: Engine(shipped_model(), threads=1, max_memory=limit + 1)))
engine = Engine(shipped_model(), threads=1)
print(attempt(run(5000)))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stderr == ""
    first, large, again, declared, computed, weights, other, unlimited = run.stdout.splitlines()
    assert first == again == unlimited == "done"
    assert "OutOfMemory" in large
    assert (
        "batch of 5,000, whose largest activation takes 94.1 MB (max_memory is 20.0 MB); run fewer" in large
    )
    assert declared.startswith("OutOfMemory: <bytes>: takes at least 1.0 GB (weights 16 B, y 1.0 GB)")
    assert computed.startswith(
        "OutOfMemory: <bytes>: not enough memory for a batch of 1 (max_memory is 20.0 MB)"
    )
    assert "max_memory is 1 B; raise it if you trust the file" in weights
    assert other.startswith("UsageError: max_memory=20000001: all engines of a process share one limit")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the address space")
def test_memory_over_that_of_the_process_is_one_error() -> None:
    code = f"""
import resource
import numpy as np
import onnx
from cnntk.runtime import Engine, OutOfMemory
model = onnx.load_from_string({built(HUGE)!r})
model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(50_000_000, np.float32), "w"))
model.graph.output[0].name = "w"
heavy = model.SerializeToString()
computed = Engine({built(HUGE_COMPUTED)!r}, threads=1)
used = 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize")))
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
try:
    computed.run({{"x": np.ones((1, 1), np.float32)}})
except OutOfMemory as error:
    print(error)
try:
    Engine(heavy, threads=1)
except OutOfMemory as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    running, loading = run.stdout.splitlines()
    assert running == "<bytes>: not enough memory for a batch of 1; free memory, or use a smaller model"
    assert loading.startswith("<bytes>: not enough memory to load it")


def test_a_run_in_time_is_not_ended(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    expected = engine.run({"input": BATCH})["logits"]
    for _ in range(50):
        assert np.array_equal(engine.run({"input": BATCH}, timeout=60)["logits"], expected)


def test_auto_says_what_it_took(tiny_onnx: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="cnntk.runtime"):
        engine = Engine(tiny_onnx, "auto")
    assert engine.device_reason.startswith("auto: ")
    assert f"runs on {engine.device} ({engine.device_reason})" in caplog.text
    assert Engine(tiny_onnx).device_reason == ""


def test_warm_up_and_self_test(sealed_onnx: Path, tiny_onnx: Path) -> None:
    assert Engine(sealed_onnx, warm_up=True, self_test=True).self_test().holds
    with pytest.raises(UnsupportedArtifact, match="has no self-test"):
        Engine(tiny_onnx, self_test=True)


def test_a_model_that_answers_otherwise_fails_its_self_test(sealed_onnx: Path) -> None:
    model = onnx.load(sealed_onnx)
    bias = next(w for w in model.graph.initializer if w.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.01, "bias"))
    spec = json.loads(model.metadata_props[0].value)
    spec["digest"] = ""
    model.metadata_props[0].value = json.dumps(spec)
    with pytest.raises(SelfTestFailed, match=r"max abs error of logits 0\.01.* \(limit"):
        Engine(model.SerializeToString(), self_test=True)


def test_a_tiny_model_takes_one_thread(sealed_onnx: Path, foreign_onnx: Path) -> None:
    from cnntk.shipped import shipped_model

    assert Engine(shipped_model()).threads == 1
    assert Engine(shipped_model(), threads=2).threads == 2
    assert Engine(foreign_onnx).threads == usable_cores()


@pytest.mark.skipif(usable_cores() < 2, reason="one core")
def test_a_forked_child_has_threads_again(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx, threads=3)
    expected = engine.run({"input": BATCH})["logits"]

    def call() -> tuple[int, np.ndarray, int]:
        before = tasks()
        return before, engine.run({"input": BATCH})["logits"], tasks()

    before, answer, after = forked(call)
    assert np.array_equal(answer, expected)
    assert after == before + 2
    assert np.array_equal(engine.run({"input": BATCH})["logits"], expected)


def test_a_forked_child_keeps_its_model_where_the_file_is_gone(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx, threads=2)
    expected = engine.run({"input": BATCH})["logits"]
    tiny_onnx.unlink()
    assert np.array_equal(forked(lambda: engine.run({"input": BATCH})["logits"]), expected)


def test_a_forked_child_ends_as_any_process_does(tiny_onnx: Path) -> None:
    code = f"""
import os, sys
import numpy as np
from cnntk.runtime import Engine
engine = Engine({str(tiny_onnx)!r}, threads=2)
inputs = {{"input": np.zeros((1, 1, 4, 4), np.float32)}}
engine.run(inputs)
child = os.fork()
if child == 0:
    for _ in range(3):
        engine.run(inputs)
    del engine
    sys.exit(7)  # takes everything down, unlike os._exit
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == ["7"]


def test_fork_while_other_threads_run(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx, threads=2)
    expected = engine.run({"input": BATCH})["logits"]
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            engine.run({"input": BATCH}, timeout=60)

    callers = [threading.Thread(target=run) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(10):
            assert np.array_equal(
                forked(lambda: engine.run({"input": BATCH}, timeout=60)["logits"]), expected
            )
    finally:
        over.set()
        for caller in callers:
            caller.join()


def test_engines_share_a_pool(tiny_onnx: Path) -> None:
    code = f"""
import os
from cnntk.runtime import Engine
from cnntk.runtime.errors import UsageError
tasks = lambda: len(os.listdir("/proc/self/task"))
Engine({str(tiny_onnx)!r}, threads=1)
none = tasks()
engines = [Engine({str(tiny_onnx)!r}, threads="shared") for _ in range(5)]
print(tasks() - none, {{e.threads for e in engines}}, Engine({str(tiny_onnx)!r}).threads)
try:
    Engine({str(tiny_onnx)!r}, threads=7)
except UsageError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    counts, refusal = run.stdout.splitlines()
    cores = usable_cores()
    assert counts == f"{cores - 1} {{{cores}}} {cores}"
    assert "share its pool" in refusal


@pytest.mark.parametrize("spin", [None, True, False])
def test_spinning_changes_no_answer(tiny_onnx: Path, spin: bool | None) -> None:
    engine = Engine(tiny_onnx, threads=2, spin=spin)
    options = engine._session.get_session_options()
    wanted = "0" if spin is False else "1"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == wanted
    expected = Engine(tiny_onnx).run({"input": BATCH})["logits"]
    assert np.array_equal(engine.run({"input": BATCH})["logits"], expected)


def test_pickled_it_keeps_its_settings(tiny_onnx: Path) -> None:
    again = pickle.loads(pickle.dumps(Engine(tiny_onnx, threads=2, spin=False, allow_nonfinite=True)))
    assert (again.threads, again._settings.spin, again._allow_nonfinite) == (2, False, True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("way", ["run", "bind"])
def test_a_forked_child_never_calls_the_inherited_session(tiny_onnx: Path, threads: int, way: str) -> None:
    engine = Engine(tiny_onnx, threads=threads)
    expected = engine.run({"input": BATCH})["logits"]
    inherited = id(engine._session)

    def call() -> tuple[np.ndarray, bool]:
        outputs = engine.run({"input": BATCH}) if way == "run" else engine.bind({"input": BATCH}).run()
        return outputs["logits"], id(engine._session) == inherited

    answer, is_inherited = forked(call)
    assert np.array_equal(answer, expected)
    assert not is_inherited


def test_a_binding_does_not_survive_a_fork(tiny_onnx: Path) -> None:
    binding = Engine(tiny_onnx).bind({"input": BATCH})

    def call() -> str:
        with pytest.raises(InferenceError) as caught:
            binding.run()
        return str(caught.value)

    assert "bind again in the child" in forked(call)
    assert binding.run()["logits"].shape == (3, 3)


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, 1e10])
def test_an_endless_timeout_does_not_affect_others(seconds: float) -> None:
    engine = Engine(built(LOOP), threads=1)
    inputs = {"x": np.ones((1, 3), np.float32)}
    with ThreadPoolExecutor(1) as pool:
        endless = pool.submit(engine.run, inputs, timeout=2)
        tiny = Engine(
            built('<ir_version: 10, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { y = Neg(x) }')
        )
        tiny.run({"x": np.ones(2, np.float32)}, timeout=seconds)
        with pytest.raises(InferenceTimeout):
            engine.run(inputs, timeout=0.1)
        with pytest.raises(InferenceTimeout):
            endless.result()
    with pytest.raises(ValueError, match="got NaN"):
        tiny.run({"x": np.ones(2, np.float32)}, timeout=float("nan"))


def test_sizes_of_one_name_are_equal() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[N,3] a, float[N,3] b) => (float[N,3] y) { y = Add (a, b) }"""
    engine, one = Engine(built(text)), np.ones((1, 3), np.float32)
    assert engine.run({"a": one, "b": one})["y"].tolist() == [[2, 2, 2]]
    with pytest.raises(InputError, match="N is both 1 and 4"):
        engine.run({"a": one, "b": np.ones((4, 3), np.float32)})


def test_lists_of_different_lengths_are_an_error(tiny_onnx: Path) -> None:
    with pytest.raises(InputError, match="got input: list"):
        Engine(tiny_onnx).run({"input": [[1, 2], [3]]})
    for wrong in ([1], {"input": [1]}, None):
        with pytest.raises(InputError, match="expected a dict of arrays"):
            Engine(tiny_onnx).run_many(wrong)
    with pytest.raises(UsageError, match="unknown device"):
        Engine(tiny_onnx, None)


@pytest.mark.slow
def test_64_threads_get_every_answer_to_the_bit() -> None:
    from cnntk.shipped import shipped_model

    engine = Engine(shipped_model())
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 28, 28, 1), dtype=np.uint8)
    expected = [engine.run({"image": image}) for image in images]

    def calls(count: int) -> int:
        wrong = 0
        for i in range(count):
            outputs = engine.run({"image": images[i % 50]})
            wrong += any(outputs[k].tobytes() != v.tobytes() for k, v in expected[i % 50].items())
        return wrong

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(calls, [200] * 64))
        before = psutil.Process().memory_info().rss
        assert sum(pool.map(calls, [200_000 // 64] * 64)) == 0
        growth = psutil.Process().memory_info().rss - before
    assert growth < 5e6
