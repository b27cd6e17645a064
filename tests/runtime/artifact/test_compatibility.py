from pathlib import Path

import onnx
import pytest

from cnntk.runtime.artifact.compatibility import (
    IR_VERSIONS,
    OPSETS,
    first_release,
    oldest_onnxruntime,
    read_format,
)
from cnntk.runtime.artifact.protobuf import encode_message
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UnsupportedArtifact
from cnntk.runtime.session.devices import import_onnxruntime, release_numbers
from cnntk.shipped import shipped_model

KNOWN = [(n, 8, r) for n, r in OPSETS.items()] + [(15, n, r) for n, r in IR_VERSIONS.items()]


def model_of(opset: int, ir_version: int, body: str = "y = Relu (x)") -> bytes:
    head = f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
    text = f"{head} g (float[N] x) => (float[N] y) {{ {body} }}"
    return onnx.parser.parse_model(text).SerializeToString()


@pytest.mark.parametrize(("opset", "ir_version", "release"), KNOWN)
def test_the_installed_onnxruntime_loads_what_its_release_does(
    opset: int, ir_version: int, release: str
) -> None:
    model, installed = model_of(opset, ir_version), import_onnxruntime().__version__
    assert oldest_onnxruntime(model, "m") == release
    if release_numbers(installed) >= release_numbers(release):
        assert Engine(model).outputs[0].name == "y"
    else:
        with pytest.raises(UnsupportedArtifact, match=rf"Update onnxruntime to {release} or newer"):
            Engine(model)


def test_versions_between_and_below_and_above() -> None:
    assert first_release(OPSETS, 24) == "1.24"
    assert first_release(OPSETS, 7) == "1.18"
    assert first_release(OPSETS, 99) is None
    assert oldest_onnxruntime(model_of(22, 11), "m") == "1.23"
    assert oldest_onnxruntime(model_of(18, 99), "m") is None
    with pytest.raises(UnsupportedArtifact, match=r"up to \d+\. Update onnxruntime, or export"):
        Engine(model_of(18, 99))


def test_operators_that_need_a_later_release() -> None:
    packed = model_of(18, 10, "y = com.microsoft.MatMulNBits <N = 4, K = 16, bits = 4> (x, x, x)")
    assert oldest_onnxruntime(packed, "m") == "1.23"
    assert oldest_onnxruntime(model_of(18, 10), "m") == "1.18"


def test_operators_that_need_a_later_release_on_bytes() -> None:
    """Of the releases from 1.18 on, 1.24 is the first with a kernel for Max of uint8."""
    for dtype, values, release in (("uint8", "{7}", "1.24"), ("float", "{7.0}", "1.18")):
        text = f"""<ir_version: 10, opset_import: ["" : 18]>
            g ({dtype}[N] x) => ({dtype}[N] y) <{dtype} least = {values}> {{ y = Max (x, least) }}"""
        assert oldest_onnxruntime(onnx.parser.parse_model(text).SerializeToString(), "m") == release


def test_the_standard_domain_has_two_names(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    model.opset_import[0].domain, model.opset_import[0].version = "ai.onnx", 23
    assert oldest_onnxruntime(model.SerializeToString(), "m") == "1.23"
    model.opset_import[0].domain = "another.library"
    assert oldest_onnxruntime(model.SerializeToString(), "m") == "1.18"


def test_what_a_file_states_of_itself() -> None:
    stated = read_format(shipped_model().read_bytes())
    assert str(stated) == "opset 18, IR 10"
    assert stated.producer.startswith("pytorch ")
    assert stated.weight_types["float32"] > 61_706 > stated.weight_types["int64"]


def test_a_file_that_states_nothing_and_packed_shapes() -> None:
    tensor = encode_message((1, b"\x02\x03"), (2, 10))
    stated = read_format(encode_message((7, encode_message((5, tensor), (5, encode_message((2, 99)))))))
    assert (stated.ir_version, stated.opsets, stated.producer) == (None, {}, "")
    assert stated.weight_types == {"float16": 6, "type 99": 1}
