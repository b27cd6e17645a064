from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def executed(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Returns the text output of each cell, by the name of the cell."""
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources).execute()
    return {cell["id"]: "".join(map(text_of, cell.get("outputs", ()))) for cell in notebook.cells}


def text_of(output: dict[str, Any]) -> str:
    return output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]


def cell(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    return next(cell for cell in notebook.cells if cell["id"] == name)


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_has_no_outputs_in_the_repository(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c["cell_type"] == "code"]
    assert [(c["outputs"], c["execution_count"]) for c in code] == [([], None)] * len(code)


def test_runs_and_reads_the_seven(notebook: nbformat.NotebookNode) -> None:
    shown = executed(notebook)
    assert shown["best"].startswith("Prediction(label='7', probability=0.99")
    assert shown["all"].startswith("7  99.")
    assert len(shown["all"].splitlines()) == 10
    assert shown["shift"].startswith("0 to the right: 7")
    assert "image/png" in cell(notebook, "image")["outputs"][0]["data"]
    assert " ms, " in shown["bench"]


def test_another_digit_is_not_called_a_seven(notebook: nbformat.NotebookNode) -> None:
    image = cell(notebook, "image")
    image["source"] = image["source"].replace("digit = 7", "digit = 3")
    notebook.cells = notebook.cells[: notebook.cells.index(cell(notebook, "best")) + 1]
    assert executed(notebook)["best"].startswith("Prediction(label='3'")
    cell(notebook, "best")["source"] = "classify(b'no image')"
    with pytest.raises(CellExecutionError, match="not a readable image"):
        executed(notebook)
