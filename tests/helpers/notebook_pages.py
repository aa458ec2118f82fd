"""A made-up executed notebook with its page and an index, for tests of both."""

import base64
import io
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from report_results import REPORT

from h2a_lib.files import write_json
from h2a_lib.report.pages import Page, find_pages, write_index, write_pages
from h2a_lib.report.staging import Staged

ALT = "A made-up curve that falls."
STUDY = {
    "profile": "made-up <study>",
    "date": "1 January 2000",
    "commit": "0123abc",
    "fingerprint": "0123456789ab",
    "tier_label": "Made-up data",
}


def write_results(folder: Path) -> Path:
    """Write results with one figure and the executed notebook that drew it."""
    results = folder / "results" / "made-up"
    content = io.BytesIO()
    Image.new("L", (60, 40)).save(content, format="PNG")
    png = base64.b64encode(content.getvalue()).decode()
    table = '<style scoped>td {}</style><table border="1"><tr><th>n</th></tr></table>'
    cells = [
        new_markdown_cell("# A <question>\n\nIn words."),
        new_code_cell("profile = 'smoke'"),
        new_code_cell("import numpy"),
        new_code_cell(
            "table  # a comment",
            outputs=[
                new_output("execute_result", {"text/html": table, "text/plain": "table"}),
                new_output("stream", name="stdout", text="one line\n"),
                new_output("stream", name="stdout", text="another\n"),
            ],
        ),
        new_code_cell(
            "study.show(draw.curve(1, 'x'))",
            outputs=[
                new_output(
                    "display_data",
                    {"image/png": png, "text/plain": "<Image>"},
                    metadata={
                        "image/png": {"alt": ALT, "width": 300},
                        "h2a": {"figure": "curve"},
                    },
                ),
                new_output("display_data", {"text/markdown": "*A caption.*"}),
            ],
        ),
    ]
    file = results / "notebooks" / "06_compare_runs.ipynb"
    file.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), file)
    write_json(
        results / "figures" / "curve.json",
        {"name": "curve", "made_by": "06_compare_runs"},
    )
    return results


def find_example_pages(folder: Path) -> list[Page]:
    """Return the pages of the made-up results."""
    return find_pages(write_results(folder), folder)


def write_example_pages(folder: Path) -> list[Path]:
    """Write the page of the made-up notebook and an index; return both."""
    pages = find_example_pages(folder)
    runs = {
        "names": ["experiment", "seed", "epochs"],
        "header": ["experiment", "seed", "epochs"],
        "rows": [["resnet18", "0", "2"]],
    }
    staged = Staged("Made-up data", {"study": STUDY}, {}, {"runs": runs}, False, {})
    written = write_pages(pages, REPORT, folder / "out", "Made-up data")
    return [*written, write_index(staged, pages, REPORT, folder / "out")]
