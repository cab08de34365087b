"""docs/explore.ipynb runs from its first cell to its last on an output, and finds in it what is there."""

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

from spark_job import run


@pytest.mark.slow
def test_the_notebook_reads_an_output_and_looks_a_photo_up(spark, settings, photos, monkeypatch):
    chosen = settings(photos, group_by="parent")
    run(chosen, spark)
    monkeypatch.setenv("OUTPUT", chosen.output)
    monkeypatch.setenv("PHOTO", str(photos / "biden" / "biden.jpg"))
    notebook = nbformat.read(ROOT / "docs" / "explore.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is committed without what it shows of people"
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    texts = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
    shown = " ".join(" ".join(texts).split())
    assert "'listed': 6, 'ok': 6" in shown
    assert "biden.jpg match [('biden'" in shown
    assert any("image/png" in output.get("data", {}) for output in outputs)
    difference = next(output["data"]["text/plain"] for output in notebook.cells[5].outputs)
    assert float(difference) < 1e-12
