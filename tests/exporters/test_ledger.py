from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.ledger import ledger
from cnntk.models.zoo import build
from cnntk.runtime.spec import Network


def test_a_row_a_layer(small_cnn: nn.Module) -> None:
    rows = {row.op: row for row in ledger(capture(small_cnn, (3, 8, 8), "input"))}
    conv, gemm = rows["Conv"], rows["Gemm"]
    assert conv.shape == ("N", 4, 8, 8)
    assert conv.multiply_adds == 4 * 8 * 8 * 3 * 3 * 3
    assert (gemm.name, gemm.shape, gemm.multiply_adds) == ("6", ("N", 5), 64 * 5)
    assert rows["Reshape"].parameters == 0


def test_lenets_figures_are_those_of_the_closed_form() -> None:
    rows = ledger(capture(build(Network("lenet")).eval(), (1, 28, 28), "input"))
    convolutions = 6 * 28 * 28 * 25 + 16 * 10 * 10 * 6 * 25
    dense = 400 * 120 + 120 * 84 + 84 * 10
    assert sum(row.multiply_adds for row in rows) == convolutions + dense
