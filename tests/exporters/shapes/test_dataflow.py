import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from cnntk.exporters.shapes.dataflow import data_inputs, layer_name, layer_nodes, parameters, readers

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[N, 4] x) => (float[N, 4] y) <float[4] bias>
{
    size = Shape (x)
    sum = Add (size, size)
    turned = Transpose <perm = [1, 0]> (w)
    flat = Reshape (x, size)
    product = MatMul (flat, turned)
    y = Add (product, bias)
}
"""


def graph() -> ir.Model:
    proto = onnx.parser.parse_model(GRAPH)
    for name, shape in (("w", (4, 4)), ("bias", (4,))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return ir.from_proto(proto)


def test_layers_are_what_the_data_passes_through() -> None:
    assert [n.op_type for n in layer_nodes(graph())] == ["Reshape", "MatMul", "Add"]


def test_inputs_and_weights_are_distinguished() -> None:
    nodes = layer_nodes(graph())
    layers = frozenset(nodes)
    assert [[v.name for v in data_inputs(n, layers)] for n in nodes] == [["x"], ["flat"], ["product"]]
    assert [[v.name for v in parameters(n, layers)] for n in nodes] == [[], ["w"], ["bias"]]
    assert [n.op_type for n in readers(nodes[0].outputs[0], layers)] == ["MatMul"]


def test_names_come_from_torch_then_from_the_node() -> None:
    node = ir.node("Relu", [None], name="node_relu")
    assert layer_name(node) == "node_relu"
    node.metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'features.1', 'relu']"
    assert layer_name(node) == "features.1"
