"""The report within a notebook: deck and pages in frames of a cell's output."""

import html
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from h2a_lib.errors import require_file
from h2a_lib.report.pages import FOLDER

if TYPE_CHECKING:
    from IPython.display import HTML

HEIGHT_PX = 640
# Of a page that is embedded the addresses "#/2" are its own, not those of the notebook around it.
BASE = '<base href="about:srcdoc">'


def show_page(page: Path) -> "HTML":
    """Return a page of the report in a frame, to be displayed; a UserError if there is none.

    Jupyter serves the file. Kaggle and Colab serve no files of the session, so there the page, of
    some megabytes, becomes part of the notebook; links from it to other files lead nowhere.
    """
    from IPython.display import HTML

    return HTML(f"<div>{_frame(page)}</div>")


def show_notebooks(deck_folder: Path) -> "HTML":
    """Return a list of the executed notebooks of a report, each of which unfolds in place."""
    from IPython.display import HTML

    items = []
    for page in sorted(deck_folder.glob(f"{FOLDER}/[!.]*.html")):
        summary = f"<summary>{html.escape(_title(page))}</summary>"
        items.append(f"<details>{summary}{_frame(page)}</details>")
    return HTML("\n".join(items) or "<p>This report has no executed notebooks.</p>")


def is_hosted() -> bool:
    """Return whether this notebook is on Kaggle or Colab, whose pages reach none of its files."""
    return "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def _frame(page: Path) -> str:
    require_file(page, "run `h2a report` first")
    if is_hosted():
        content = page.read_text(encoding="utf-8")
        content = re.sub(r"<head[^>]*>", lambda head: head[0] + BASE, content, count=1)
        source = f'srcdoc="{html.escape(content)}"'
    else:
        source = f'src="{quote(os.path.relpath(page))}"'
    title = f'title="{html.escape(_title(page))}" width="100%" height="{HEIGHT_PX}"'
    return f'<iframe {source} {title} style="border: 0" loading="lazy" allowfullscreen></iframe>'


def _title(page: Path) -> str:
    """Return the page's own title, or else its name."""
    match = re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"), re.DOTALL)
    return html.unescape(match[1]).strip() if match and match[1].strip() else page.stem
