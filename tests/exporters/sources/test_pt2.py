"""What a ``.pt2`` file can hold to run code: nothing of it runs, and with ``trust`` it does."""

import contextlib
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.sources import open_source
from cnntk.runtime.errors import ArtifactCorrupt, UsageError

Data = dict[str, Any]
MODEL, WEIGHTS = "archive/models/model.json", "archive/data/weights/model_weights_config.json"
CONSTANTS = "archive/data/constants/model_constants_config.json"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.shift = torch.ones(3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        flat = image.reshape(image.shape[0], 2 * image.shape[2])
        return {"class-scores": nn.functional.gelu(self.linear(flat) + self.shift, approximate="tanh")}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "good.pt2"
    program = torch.export.export(
        Net().eval(), (torch.zeros(2, 1, 2, 2),), dynamic_shapes=({0: Dim("n", max=64)},)
    )
    buffer = io.BytesIO()  # a file's name would be in the names of its entries
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that every payload touches, by a name without a dot or a slash."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "RAN"


class Payload:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch RAN",)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue() + bytes(-buffer.tell() % 4)  # of which torch can make float32 numbers


def rewritten(good: Path, changes: Mapping[str, bytes | Callable[[Data], object] | None]) -> Path:
    """A copy with other entries; a function changes the JSON of an entry in place, None removes it."""
    path = Path("evil.pt2")
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
        for name in dict.fromkeys([*source.namelist(), *changes]):
            change = changes.get(name, b"")
            if name not in changes:
                target.writestr(name, source.read(name))
            elif callable(change):
                change(data := json.loads(source.read(name)))
                target.writestr(name, json.dumps(data))
            elif change is not None:
                target.writestr(name, change)
    return path


def run(path: Path, *, trust: bool = False) -> Tensor:
    """What torch computes with the opened program."""
    program = open_source(path, ExportOptions(trust=trust)).program
    assert program is not None
    output: Tensor = program.module()(torch.ones(2, 1, 2, 2))["class-scores"]
    return output


def graph(data: Data) -> Data:
    return data["graph_module"]["graph"]  # type: ignore[no-any-return]


def rename(data: Data, old: str, new: str) -> Data:
    """``data`` with another name of a value, everywhere."""
    text = json.dumps(data).replace(json.dumps(old), json.dumps(new))
    data.clear()
    data.update(json.loads(text))
    return data


def first_shape(data: Data) -> Data:
    return next(iter(graph(data)["sym_int_values"].values()))["as_expr"]  # type: ignore[no-any-return]


def called_with_text(data: Data, target: str, text: str = "touch RAN") -> None:
    argument = {"name": "", "arg": {"as_string": text}, "kind": 1}
    node = {"name": "call", "target": target, "inputs": [argument], "outputs": [{"as_none": True}]}
    graph(data)["nodes"].insert(0, node | {"metadata": {}})


def creates_file(data: Data) -> None:
    """Adds a call of the operator that maps a file into memory, and makes it where there is none."""
    arguments = {"filename": {"as_string": "RAN"}, "shared": {"as_bool": True}, "size": {"as_int": 4}}
    inputs = [{"name": name, "arg": value, "kind": 1} for name, value in arguments.items()]
    target, output = "torch.ops.aten.from_file.default", {"as_tensor": {"name": "call"}}
    node = {"name": "call", "target": target, "inputs": inputs, "outputs": [output], "metadata": {}}
    graph(data)["nodes"].insert(0, node)
    values = graph(data)["tensor_values"]
    values["call"] = values["linear"]


def call_signature(data: Data) -> Data:
    return data["graph_module"]["module_call_graph"][0]["signature"]  # type: ignore[no-any-return]


def out_spec(kind: str, context: object) -> Callable[[Data], object]:
    leaf = {"type": None, "context": None, "children_spec": []}
    spec = json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf]}])
    return lambda data: call_signature(data).update(out_spec=spec)


def as_pickles(config: Data, *, of: str, path: str, both: bool = False) -> None:
    config["config"][of] |= {"path_name": path, "use_pickle": True}
    if both:
        config["config"][f"{of}2"] = config["config"][of] | {"use_pickle": False}


IMPORT = '__import__("os").system("touch RAN")'
PAYLOADS: dict[str, Mapping[str, bytes | Callable[[Data], object] | None]] = {
    "a pickled weight": {
        WEIGHTS: lambda d: as_pickles(d, of="linear.bias", path="weight_1"),
        "archive/data/weights/weight_1": saved(Payload()),
    },
    "a weight in bytes and pickled": {
        WEIGHTS: lambda d: as_pickles(d, of="linear.bias", path="weight_1", both=True),
        "archive/data/weights/weight_1": saved(Payload()),
    },
    "weights of earlier versions": {"archive/data/weights/model.pt": saved(Payload())},
    "constants of earlier versions": {"archive/data/constants/model.pt": saved(Payload())},
    "an object": {
        CONSTANTS: lambda d: as_pickles(d, of="shift", path="opaque_obj_0"),
        "archive/data/constants/opaque_obj_0": pickle.dumps(Payload()),
    },
    "a shape": {MODEL: lambda d: first_shape(d).update(expr_str=IMPORT)},
    "the name of an input": {
        MODEL: lambda d: rename(d, "image", f"image=({IMPORT})"),
    },
    "a class of keys": {
        MODEL: out_spec("builtins.dict", '[{"__enum__": true, "fqn": "payload:A", "name": "B"}]'),
    },
    "a class of values": {
        MODEL: out_spec(
            "collections.defaultdict",
            {"default_factory_module": "payload", "default_factory_name": "A", "dict_context": ["a"]},
        ),
    },
    "an operator": {MODEL: lambda d: creates_file(d)},
    "guards": {MODEL: lambda d: d.update(guards_code=[f"{IMPORT} == 0"])},
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_runs_without_trust(
    good: Path, ran: Path, payload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("payload.py").write_text("open('RAN', 'w').close()\n")
    monkeypatch.syspath_prepend(ran.parent)
    evil = rewritten(good, PAYLOADS[payload])
    if payload == "guards":  # are left out
        run(evil)
    else:
        with pytest.raises(
            UsageError, match=r"^evil\.pt2: holds .*, which could run code; look into it first: --"
        ):
            run(evil)
    assert not ran.exists()
    monkeypatch.delitem(sys.modules, "payload", raising=False)
    with contextlib.suppress(Exception):  # the negative control: torch runs it, and may fail after that
        run(evil, trust=True)
    assert ran.exists()


@pytest.mark.parametrize("layout", ["new", "of torch 2.7"])
def test_sample_inputs_are_not_read(good: Path, ran: Path, layout: str) -> None:
    if layout == "new":
        evil = rewritten(good, {"archive/data/sample_inputs/model.pt": saved(Payload())})
    else:
        evil = old_layout(good, inputs=saved(Payload()))
    assert torch.equal(run(evil), run(good))
    assert not ran.exists()
    with pytest.raises(ArtifactCorrupt):  # the payload returns no inputs
        run(evil, trust=True)
    assert ran.exists()


@pytest.mark.parametrize("tensors", ["state_dict", "constants"])
def test_pickles_of_the_old_layout(good: Path, ran: Path, tensors: str) -> None:
    evil = old_layout(good, **{tensors: saved(Payload())})
    with pytest.raises(UsageError, match=r"evil\.pt2: holds more than tensors in 'serialized_"):
        run(evil)
    assert not ran.exists()


def old_layout(good: Path, **entries: bytes) -> Path:
    """The program as torch 2.7 wrote it."""
    program = torch.export.load(good)
    contents = {
        "state_dict": saved(dict(program.state_dict)),
        "constants": saved(program.constants),
        "inputs": saved(((), {})),
    } | entries
    with zipfile.ZipFile(good) as source, zipfile.ZipFile("evil.pt2", "w") as target:
        target.writestr("version", "8.20")
        target.writestr("serialized_exported_program.json", source.read(MODEL))
        target.writestr("serialized_state_dict.pt", contents["state_dict"])
        target.writestr("serialized_constants.pt", contents["constants"])
        target.writestr("serialized_example_inputs.pt", contents["inputs"])
    return Path("evil.pt2")


class DictNet(nn.Module):
    def forward(self, inputs: dict[str | int, Tensor]) -> Tensor:
        return inputs["an image"].flatten(1) * inputs["channel-scale"] + inputs[0]


def test_keys_of_inputs(ran: Path) -> None:
    one, n = torch.ones(4, 1), {0: Dim("n")}
    inputs = {"an image": torch.ones(4, 1, 4, 3), "channel-scale": one, 0: one}
    program = torch.export.export(DictNet(), (inputs,), dynamic_shapes=(dict.fromkeys(inputs, n),))
    torch.export.save(program, "plain.pt2")
    opened = open_source(Path("plain.pt2"), ExportOptions()).program
    assert opened is not None
    assert torch.equal(opened.module()(inputs), DictNet()(inputs))

    def quoted(data: Data) -> None:
        call_signature(data)["in_spec"] = call_signature(data)["in_spec"].replace("channel-scale", "a', b: '")

    with zipfile.ZipFile("plain.pt2") as archive:
        model = next(name for name in archive.namelist() if name.endswith("models/model.json"))
    with pytest.raises(UsageError, match="holds the key"):
        open_source(rewritten(Path("plain.pt2"), {model: quoted}), ExportOptions())


def test_a_size_that_is_a_multiple_is_no_code(ran: Path) -> None:
    program = torch.export.export(nn.ReLU(), (torch.ones(4, 8),), dynamic_shapes=({0: 2 * Dim("half")},))
    torch.export.save(program, "derived.pt2")
    with pytest.raises(UsageError, match="batch fixed at 2"):
        open_source(Path("derived.pt2"), ExportOptions())


ODD: dict[str, Callable[[Data], object]] = {
    "a library": lambda d: called_with_text(d, "torch.ops.load_library"),
    "a function of torch": lambda d: called_with_text(d, "torch.os.system"),
    "a file that is written": lambda d: called_with_text(d, "torch.ops.aten.save.default"),
    "an attribute of an operator": lambda d: called_with_text(d, "torch.ops.aten.add.__init__"),
    "a function of math": lambda d: called_with_text(d, "math.factorial"),
    "a function of operator": lambda d: called_with_text(d, "_operator.methodcaller"),
    "a function as an argument": lambda d: graph(d)["nodes"][0]["inputs"][0].update(
        arg={"as_operator": "torch.os.system"}
    ),
    "a name of a weight": lambda d: rename(d, "linear.bias", f"linear.bias'), {IMPORT}, ('"),
    "a hidden attribute": lambda d: rename(d, "linear.bias", "linear.__class__"),
    "a keyword": lambda d: rename(d, "linear", "import"),
    "a power of numbers": lambda d: first_shape(d).update(
        expr_str="Pow(Pow(Integer(9), Integer(8)), Integer(8))"
    ),
    "a power of two numbers": lambda d: first_shape(d).update(expr_str="9**9**9**9"),
    "an attribute in a shape": lambda d: first_shape(d).update(expr_str="Symbol('s1').func"),
    "a list in a shape": lambda d: first_shape(d).update(expr_str="[Symbol('s1') for s1 in Symbol]"),
    "a symbol of many": lambda d: d.update(range_constraints={"u99999999999": {"min_val": 0, "max_val": 1}}),
    "a text input": lambda d: d["graph_module"]["signature"]["input_specs"].append(
        {"constant_input": {"name": "a", "value": {"as_string": f"' or {IMPORT} or '"}}}
    ),
    "an object as an argument": lambda d: graph(d)["nodes"][0]["inputs"][0].update(
        arg={"as_custom_obj": {"name": "a", "class_fqn": "b"}}
    ),
    "a name of a value": lambda d: rename(d, "linear", f"a = {IMPORT}; linear"),
    "a name of an argument": lambda d: call_signature(d).update(forward_arg_names=[f"image=({IMPORT})"]),
    "an argument of another name": lambda d: call_signature(d).update(
        in_spec=call_signature(d)["in_spec"].replace('"[]"', json.dumps(json.dumps([f"a=({IMPORT})"])))
    ),
}


@pytest.mark.parametrize("change", ODD)
def test_what_is_not_plain_data_is_refused(good: Path, ran: Path, change: str) -> None:
    evil = rewritten(good, {MODEL: ODD[change]})
    with pytest.raises(UsageError, match=r"^evil\.pt2: holds [^\n]*, which could run code") as refusal:
        run(evil)
    assert len(str(refusal.value)) < 300
    assert not ran.exists()


def test_other_entries_are_left_out(good: Path, ran: Path) -> None:
    library = {"archive/data/aotinductor/model/a.so": b"\x7fELF", "archive/models/other.json": b"{}"}
    assert torch.equal(run(rewritten(good, library)), run(good))
    with pytest.raises(ArtifactCorrupt, match=r"evil\.pt2: not a valid \.pt2 file"):
        run(rewritten(good, {**library, MODEL: None}))


def test_an_archive_is_not_larger_than_its_file(good: Path, ran: Path) -> None:
    zeros = bytes(1 << 20)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile("bomb.pt2", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in source.namelist():
            bomb.writestr(name, zeros if name.endswith("weight_0") else source.read(name))
    with pytest.raises(ArtifactCorrupt, match=r"bomb\.pt2: not a valid \.pt2 file"):
        run(Path("bomb.pt2"))
    shutil.copy(good, "twice.pt2")
    with zipfile.ZipFile("twice.pt2", "a") as archive:  # two entries of the same bytes
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        archive.filelist += [largest] * 1000
        archive.writestr("end", b"")
    with pytest.raises(ArtifactCorrupt, match=r"twice\.pt2: not a valid \.pt2 file"):
        run(Path("twice.pt2"))


def test_a_weight_without_bytes(good: Path, ran: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match=r"evil\.pt2: not a valid \.pt2 file"):
        run(rewritten(good, {"archive/data/weights/weight_0": b""}))


def test_nested_too_deeply(good: Path, ran: Path) -> None:
    deep = b'{"graph_module": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(ArtifactCorrupt, match=r"evil\.pt2: not a valid \.pt2 file"):
        run(rewritten(good, {MODEL: deep}))
