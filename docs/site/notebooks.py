"""Run the notebooks and store them with what they gave: ``make notebooks``.

Each runs in an empty folder. Progress bars and the names of temporary folders are left out, so that a run that gives
the same leaves the same file.
"""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def is_progress(output: nbformat.NotebookNode) -> bool:
    """Return True if an output is a progress bar."""
    return output.get("name") == "stderr" or WIDGET in output.get("data", {})


def run(path: Path) -> None:
    """Run a notebook, and write it back."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=None, resources={"metadata": {"path": folder}}).execute()
        text = re.compile(re.escape(f"{Path(folder).resolve()}/"))
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_progress(output)]
    path.write_text(text.sub("", nbformat.writes(notebook)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        run(FOLDER / name)
