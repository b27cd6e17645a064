import pytest
from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.head import add_head
from cnntk.runtime.errors import UsageError


def test_a_classifier_answers_logits_and_probabilities(small_cnn: nn.Module) -> None:
    model = capture(small_cnn, (3, 8, 8), "input")
    assert add_head(model, "auto") == ("classifier", "one output of shape Nx5")
    assert [o.name for o in model.graph.outputs] == ["logits", "probabilities"]
    softmax = model.graph.node(-1)
    assert softmax.op_type == "Softmax"
    assert softmax.inputs[0].name == "logits"


def test_no_head_where_none_is_asked_for(small_cnn: nn.Module) -> None:
    model = capture(small_cnn, (3, 8, 8), "input")
    assert add_head(model, "none")[0] == "none"
    assert len(model.graph.outputs) == 1


def test_what_is_no_classifier(two_outputs: nn.Module) -> None:
    model = capture(two_outputs, (3, 8, 8), "input")
    assert add_head(model, "auto") == ("none", "no classifier: it has 2 outputs")
    with pytest.raises(UsageError, match="it has 2 outputs"):
        add_head(model, "classifier")
