"""Random ONNX graphs and specs, half right and half wrong: each runs or is a `CnntkError`.

A graph is a chain of layers as networks have them and of any operators, as ONNX's schemas describe them. Then
a few faults are put in: wrong sizes, types, names, orders, subgraphs, external data, versions.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.defs
import onnx.parser
from onnx import TensorProto, helper, numpy_helper
from reliability.artifacts import odd_spec
from reliability.runner import Failed, Kind, quiet
from spec_mutations import sealed, split_spec

from cnntk.cli.output import show
from cnntk.runtime import Classifier, CnntkError, Engine
from cnntk.runtime.example_inputs import example_inputs
from cnntk.shipped import shipped_model
from cnntk.verification.inspection import Inspection, inspect

__all__ = ["GRAPHS", "SPECS", "random_model"]

REFUSED, LOADED, RAN = "refused", "loads, run refused", "runs"
_RUN_LIMIT_S = 1
_MOST_VALUES = 1 << 20
_SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 16)
_ODD_SIZES = (-1, -(2**63), 2**31, 2**40, 2**62, 10**6)
_ODD_NAMES = ("", "x", "\0", "a\nb", "\x1b[2J", "\u202e", "名", "../x", "n" * 3000, "%s%n", "image", "logits")
_ODD_LOCATIONS = (
    "../x",
    "/etc/passwd",
    "",
    ".",
    "\0",
    "a\0b",
    "w.data",
    "nothing",
    "sub/../w.data",
    "*",
    "w" * 5000,
)
_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"))
_TYPES = tuple(range(26))

# Layers of a network, mostly of images (N, 3, H, W). Weights are named after what they are: f_3_1 and b_3 are
# floats and bools of that shape, i2_0_1 two integers with these values.
_LAYERS = """
    Conv <pads = [1, 1, 1, 1]> (x, f_3_3_3_3)
    Conv <strides = [2, 2]> (x, f_3_3_1_1, f_3)
    Conv <group = 3, dilations = [1, 2], auto_pad = "SAME_UPPER"> (x, f_3_1_3_3)
    ConvTranspose <strides = [2, 2], output_padding = [1, 1]> (x, f_3_3_2_2)
    MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
    AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (x)
    BatchNormalization <epsilon = 0.001> (x, f_3, f_3, f_3, f_3)
    InstanceNormalization (x, f_3, f_3)
    LRN <size = 3> (x)
    Relu (x)
    LeakyRelu <alpha = 0.1> (x)
    PRelu (x, f_3_1_1)
    Clip (x, f, f)
    Add (x, y)
    Mul (x, f_1_3_1_1)
    Concat <axis = 1> (x, y)
    Softmax <axis = 1> (x)
    GlobalAveragePool (x)
    Flatten <axis = 1> (x)
    Gemm <transB = 1> (x, f_5_3, f_5)
    MatMul (x, f_4_4)
    Transpose <perm = [0, 2, 3, 1]> (x)
    Reshape (x, i2_0_3_m1)
    Resize <mode = "linear", antialias = 1> (x, , , i4_1_3_5_5)
    Pad <mode = "reflect"> (x, i8_0_0_1_1_0_0_1_1)
    Slice (x, i1_0, i1_2, i1_2, i1_1)
    ReduceMean <keepdims = 1> (x, i2_2_3)
    Squeeze (x, i1_2)
    Unsqueeze (x, i1_0)
    Split <axis = 1, num_outputs = 1> (x)
    Gather <axis = 1> (x, i2_0_1)
    Tile (x, i4_1_2_1_1)
    Expand (x, i4_1_3_4_4)
    Cast <to = 6> (x)
    Cast <to = 10> (x)
    Shape (x)
    ConstantOfShape (i2_3_3)
    TopK <axis = 1> (x, i1_2)
    ArgMax <axis = 1> (x)
    Where (b_1, x, y)
    Dropout (x)
    DepthToSpace <blocksize = 1> (x)
    SpaceToDepth <blocksize = 2> (x)
    Einsum <equation = "nchw,nchw->nc"> (x, y)
    DynamicQuantizeLinear (x)
    LayerNormalization (x, f_4)
    LSTM <hidden_size = 2> (f_2_1_3, f_1_8_3, f_1_8_2)
    NonMaxSuppression (f_1_4_4, f_1_2_4, i1_2)
    RandomNormalLike (x)
    Loop <body = g (int64 i, bool c, v) => (c2, w) { c2 = Identity (c) w = Add (v, v) }> (i0_3, b, x)
    If <then_branch = t () => (a) { a = Relu (x) }, else_branch = e () => (a) { a = Neg (x) }> (b)
    Scan <num_scan_inputs = 1, body = s (v) => (w) { w = Exp (v) }> (x)
    SequenceConstruct (x, y)
    Identity (x)
""".strip().splitlines()

_SOUND = '<ir_version: 10, opset_import: ["": 18]> g (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }'
_SCHEMAS = [s for s in onnx.defs.get_all_schemas() if s.domain == "" and not s.deprecated]
_ELEMENTS = {
    f"tensor({name})": getattr(TensorProto, name.upper())
    for name in ("float", "double", "float16", "int64", "int32", "int8", "uint8", "bool", "string")
}


class _Graph:
    """A graph in the making, with the values that exist so far."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.values = ["x"]

    def value(self) -> str:
        return self.values[-1] if self.rng.random() < 0.7 else self.rng.choice(self.values)

    def weight(self, name: str) -> str:
        """The initializer that a name like ``f_3_1`` (shape) or ``i2_0_1`` (rank 1, values) stands for."""
        kind, *numbers = name.replace("m", "-").split("_")
        sizes = [int(n) for n in numbers]
        if kind == "f":
            array = np.random.default_rng(len(name)).random(sizes, np.float32)
        elif kind == "b":
            array = np.ones(sizes, np.bool_)
        else:
            array = np.array(sizes if kind != "i0" else sizes[0], np.int64)
        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def add_layer(self) -> None:
        """A node of `_LAYERS`, sometimes with a number changed."""
        rng, output = self.rng, f"v{len(self.nodes)}"
        text = re.sub(r"\bx\b", self.value(), rng.choice(_LAYERS).strip())
        text = re.sub(r"\by\b", self.value(), text)
        if rng.random() < 0.1:
            text = re.sub(r"(?<=[ \[])\d+\b", lambda m: str(rng.choice(_SIZES)), text)
        if rng.random() < 0.1:
            text = re.sub(r"_\d+", lambda m: f"_{rng.choice(_SIZES)}", text)
        for name in re.findall(r"\b(?:[fb](?:_\d+)*|i\d(?:_m?\d+)+)(?=[,)])", text):
            self.weight(name)
        self.nodes.append(onnx.parser.parse_node(f"{output} = {text}"))
        self.values.append(output)

    def add_any(self) -> None:
        """A node of any operator, with the inputs and attributes that its schema asks for."""
        rng, schema = self.rng, self.rng.choice(_SCHEMAS)
        types = {
            c.type_param_str: [t for t in c.allowed_type_strs if t in _ELEMENTS]
            for c in schema.type_constraints
        }
        chosen = {name: rng.choice(sorted(allowed)) for name, allowed in types.items() if allowed}
        inputs = []
        for parameter in schema.inputs:
            if parameter.option == onnx.defs.OpSchema.FormalParameterOption.Optional and rng.random() < 0.5:
                inputs.append("")
                continue
            element = _ELEMENTS.get(chosen.get(parameter.type_str, parameter.type_str), TensorProto.FLOAT)
            inputs.append(
                self.value()
                if element == TensorProto.FLOAT and rng.random() < 0.5
                else self.any_weight(element)
            )
        node = onnx.NodeProto(op_type=schema.name, name=f"n{len(self.nodes)}", input=inputs)
        node.output.extend(
            f"v{len(self.nodes)}_{i}" for i in range(max(1, len(schema.outputs) - rng.randrange(2)))
        )
        for name, attribute in schema.attributes.items():
            if attribute.required or rng.random() < 0.3:
                node.attribute.append(self.any_attribute(name, int(attribute.type)))
        self.nodes.append(node)
        self.values += node.output

    def any_weight(self, element: int) -> str:
        rng, name = self.rng, f"w{len(self.initializers)}"
        shape = rng.choice(((), (1,), (2,), (3,), (4,), (3, 4), (1, 3, 4, 4), (2, 3, 4, 4)))
        count = math.prod(shape)
        values = (
            ["a"] * count
            if element == TensorProto.STRING
            else [rng.choice((0, 1, 2, 3)) for _ in range(count)]
        )
        self.initializers[name] = helper.make_tensor(name, element, shape, values)
        return name

    def any_attribute(self, name: str, kind: int) -> onnx.AttributeProto:
        rng = self.rng
        attribute = onnx.AttributeProto(name=name, type=kind)
        attribute.i = rng.choice((0, 1, 2, -1)) if rng.random() < 0.95 else rng.choice(_ODD_SIZES)
        attribute.f = rng.choice((0.5, 1.0)) if rng.random() < 0.9 else rng.choice(_FLOATS)
        attribute.s = rng.choice((b"linear", b"reflect", b"SAME_UPPER", b"forward", b"", b"\xff"))
        attribute.ints.extend(rng.choice((0, 1, 2, 3)) for _ in range(rng.randrange(5)))
        attribute.floats.append(1.0)
        attribute.strings.append(b"Relu")
        attribute.t.CopyFrom(numpy_helper.from_array(np.ones(rng.choice(((), (1,), (2, 2))), np.float32)))
        if kind in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            body = _Graph(rng)
            body.add_layer()
            attribute.g.CopyFrom(body.proto("body"))
        return attribute

    def proto(self, name: str) -> onnx.GraphProto:
        rng = self.rng
        shape: list[Any] = (
            ["N", 3, 4, 4]
            if rng.random() < 0.9
            else [rng.choice(("N", None, rng.choice(_SIZES))) for _ in range(rng.randrange(6))]
        )
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        outputs = [
            onnx.ValueInfoProto(name=value) for value in dict.fromkeys((self.values[-1], self.value()))
        ]
        return helper.make_graph(self.nodes, name, inputs, outputs, [*self.initializers.values()])


def random_model(rng: random.Random) -> onnx.ModelProto:
    """A model with up to three faults."""
    graph = _Graph(rng)
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        graph.add_layer() if rng.random() < 0.8 else graph.add_any()
    opset = rng.choice((18, 18, 18, 13, 21, 9, 1, 99, 0, -1)) if rng.random() < 0.1 else 18
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph.proto("graph"), opset_imports=imports)
    model.ir_version = 10 if rng.random() < 0.95 else rng.choice((0, 3, 99, -1))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        rng.choice(_FAULTS)(model, rng)
    return model


def _tensor_fault(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    match rng.randrange(6):
        case 0:
            tensor.dims.append(rng.choice((*_SIZES, *_ODD_SIZES)))
        case 1:
            tensor.data_type = rng.choice(_TYPES)
        case 2:
            tensor.raw_data = rng.randbytes(rng.choice((0, 1, 8, 100)))
        case 3:
            tensor.data_location = TensorProto.EXTERNAL
            for key in ("location", "offset", "length", "checksum", "odd")[: rng.randrange(1, 6)]:
                value = (
                    rng.choice(_ODD_LOCATIONS)
                    if key == "location"
                    else rng.choice(("0", "-1", str(2**63), "x", ""))
                )
                tensor.external_data.add(key=key, value=value)
        case 4:
            tensor.float_data.extend([1.0] * rng.randrange(4))
        case _:
            tensor.ClearField("dims")


def _node_fault(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    match rng.randrange(7):
        case 0:
            node.op_type = rng.choice((rng.choice(_SCHEMAS).name, "Odd", ""))
        case 1 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice((node.output[0], "nothing", *_ODD_NAMES))
        case 2:
            node.output.append(rng.choice((*_ODD_NAMES, node.output[0])))
        case 3 if node.attribute:
            rng.choice(node.attribute).type = rng.randrange(15)
        case 4 if node.attribute:
            attribute = rng.choice(node.attribute)
            attribute.ints.extend(rng.choice(_ODD_SIZES) for _ in range(3))
            attribute.i = rng.choice(_ODD_SIZES)
        case 5:
            del node.input[rng.randrange(len(node.input) + 1) :]
        case _:
            node.attribute.add(name=rng.choice(_ODD_NAMES), type=rng.randrange(15), i=rng.choice(_ODD_SIZES))


def _graph_fault(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = model.graph
    match rng.randrange(9):
        case 0:
            graph.node.reverse() if hasattr(graph.node, "reverse") else None
        case 1:
            graph.node.append(rng.choice(graph.node))
        case 2 if graph.input:
            dim = graph.input[0].type.tensor_type.shape.dim.add()
            dim.dim_value = rng.choice(_ODD_SIZES)
        case 3 if graph.input:
            graph.input[0].type.tensor_type.elem_type = rng.choice(_TYPES)
        case 4:
            graph.output.add(name=rng.choice(_ODD_NAMES))
        case 5:
            del graph.output[:]
        case 6:
            sparse = graph.sparse_initializer.add(dims=[rng.choice((*_SIZES, *_ODD_SIZES))])
            sparse.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), rng.choice(_ODD_NAMES)))
            sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0, rng.choice((1, 9, -1))]), ""))
        case 7:
            name = rng.choice(_ODD_NAMES)
            old = graph.input[0].name if graph.input else ""
            for node in graph.node:
                node.input[:] = [name if i == old else i for i in node.input]
            if graph.input:
                graph.input[0].name = name
        case _:
            graph.input.append(rng.choice(graph.input)) if graph.input else None


def _model_fault(model: onnx.ModelProto, rng: random.Random) -> None:
    match rng.randrange(5):
        case 0:
            model.metadata_props.add(
                key=rng.choice(("cnntk", *_ODD_NAMES)), value=rng.choice(("", "{}", "[]", '{"spec": 1}'))
            )
        case 1:
            model.opset_import.add(
                domain=rng.choice(("", "odd", "\0")), version=rng.choice((1, 18, -5, 2**40))
            )
        case 2:
            del model.opset_import[:]
        case 3:
            name = model.graph.node[0].op_type
            function = model.functions.add(
                name=name, domain=rng.choice(("", "odd")), input=["a"], output=["b"]
            )
            function.node.add(op_type=rng.choice((name, "Relu")), input=["a"], output=["b"])
        case _:
            model.producer_name = rng.choice(_ODD_NAMES)


_FAULTS = (_tensor_fault, _tensor_fault, _node_fault, _node_fault, _graph_fault, _model_fault)


def start_graphs(shared: Path, scratch: Path, load: Callable[[Any], Engine] = Engine) -> Callable[[int], str]:
    """Cases of random graphs, loaded by ``load``, inspected, and run on example inputs."""
    (scratch / "w.data").write_bytes(bytes(4096))
    _use(onnx.parser.parse_model(_SOUND).SerializeToString(), scratch / "graph.onnx", load)  # imports

    def check(seed: int) -> str:
        data = random_model(random.Random(f"graph {seed}")).SerializeToString()
        return _use(data, scratch / "graph.onnx", load)

    return check


def start_specs(shared: Path, scratch: Path, load: Callable[[Any], Engine] = Engine) -> Callable[[int], str]:
    """Cases of the shipped LeNet with up to three values of its spec replaced, and a right digest."""
    graph, spec = split_spec(shipped_model().read_bytes())
    _use(shipped_model().read_bytes(), scratch / "spec.onnx", load)  # imports

    def check(seed: int) -> str:
        rng = random.Random(f"spec {seed}")
        return _use(sealed(graph, odd_spec(spec, rng, rng.randrange(1, 4))), scratch / "spec.onnx", load)

    return check


def _use(data: bytes, file: Path, load: Callable[[Any], Engine]) -> str:
    """What becomes of a file in Engine, Classifier, `inspect` and the self-test."""
    file.write_bytes(data)
    outcome = REFUSED
    try:
        engine = load(file)
        outcome = LOADED
        if any(math.prod(d for d in i.shape if isinstance(d, int)) > _MOST_VALUES for i in engine.inputs):
            return outcome  # whoever runs it chooses its inputs
        engine.run(example_inputs(engine.inputs, 2, engine.image_sizes), timeout=_RUN_LIMIT_S)
        outcome = RAN
    except CnntkError as error:
        _check_message(error)
    if outcome == REFUSED:  # as all others would, which begin with an Engine
        return outcome
    steps: tuple[Callable[[], Any], ...] = (
        lambda: _shown(inspect(file)),
        engine.self_test,
        lambda: Classifier(file)(np.zeros((8, 8, 3), np.uint8)).top(3),
    )
    for step in steps:
        try:
            step()
        except CnntkError as error:
            _check_message(error)
    return outcome


def _shown(inspection: Inspection) -> None:
    with quiet():
        show(inspection, as_json=False)
        show(inspection, as_json=True)


def _check_message(error: CnntkError) -> None:
    text = str(error)
    if not text or text.count("\n") > 1:
        raise Failed(
            f"{type(error).__name__} with a message of {text.count(chr(10)) + 1} lines: {text!r}"
        ) from error


GRAPHS = Kind(
    name="graphs",
    title="Random ONNX graphs, most with faults; loaded by Engine, run, inspected",
    cases=80_000,
    start=start_graphs,
    outcomes=(REFUSED, LOADED, RAN),
    rss_mib=4096,
)

SPECS = Kind(
    name="specs",
    title="Artifacts with odd values in their spec and a right digest; loaded, run, inspected, self-tested",
    cases=20_000,
    start=start_specs,
    outcomes=(REFUSED, LOADED, RAN),
)
