"""The report within a notebook: framed where Jupyter serves it, embedded where nothing does."""

import html
import re

import nbformat
import pytest
from jupyterlab import CHROMIUM, browser, run_all, server
from notebook_pages import write_example_pages

from h2a_lib.errors import UserError
from h2a_lib.report.inline import show_notebooks, show_page

PAGE = "<html><head><title>A &lt;page&gt;</title></head><body><h1 id='x'>\"It\" & that</h1></body>"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a deck's folder, seen from a folder of notebooks beside it."""
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    deck = tmp_path / "a deck"
    (deck / "notebooks").mkdir(parents=True)
    for name in ("slides.html", "notebooks/01_first.html", "notebooks/02_next.html"):
        (deck / name).write_text(PAGE)
    return deck


def test_jupyter_is_given_the_address_relative_to_the_notebook(folder):
    frame = show_page(folder / "slides.html").data
    assert 'src="../a%20deck/slides.html"' in frame and 'title="A &lt;page&gt;"' in frame


def test_kaggle_is_given_the_page_itself(folder, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    frame = show_page(folder / "slides.html").data
    (embedded,) = re.findall(r'srcdoc="([^"]*)"', frame)
    assert html.unescape(embedded).replace('<base href="about:srcdoc">', "") == PAGE


def test_each_notebook_unfolds_under_its_title(folder):
    frame = show_notebooks(folder).data
    assert frame.count("<summary>A &lt;page&gt;</summary>") == 2
    assert frame.index("01_first.html") < frame.index("02_next.html")
    assert "slides.html" not in frame


def test_a_report_that_is_not_there_says_how_to_make_it(folder):
    with pytest.raises(UserError, match="run `h2a report` first"):
        show_page(folder / "paper.html")
    assert "no executed notebooks" in show_notebooks(folder / "nowhere").data


@pytest.mark.slow
@pytest.mark.browser
def test_an_embedded_deck_turns_its_slides(rendered, tmp_path, monkeypatch):
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    (tmp_path / "cell.html").write_text(show_page(rendered.html).data)
    with browser() as page:
        errors: list = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "cell.html").as_uri())
        (frame,) = page.frames[1:]
        frame.wait_for_function("() => window.Reveal?.isReady()")
        frame.locator(".reveal").click()
        page.keyboard.press("ArrowRight")
        frame.wait_for_function("() => Reveal.getIndices().h === 1")
        page.wait_for_timeout(1500)  # when the address has been set
        assert errors == []


@pytest.mark.slow
@pytest.mark.browser
def test_jupyterlab_shows_page_and_notebooks(tmp_path):
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    write_example_pages(tmp_path / "deck")
    cells = [
        "from pathlib import Path\nfrom h2a_lib.report.inline import show_notebooks, show_page",
        "show_page(Path('../deck/out/index.html'))",
        "show_notebooks(Path('../deck/out'))",
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "x.ipynb")
    with server(tmp_path) as address, browser() as page:
        run_all(page, address, "notebooks/x.ipynb")
        page.locator(".jp-OutputArea details summary").first.click()
        index, opened = (page.frame_locator(".jp-OutputArea iframe").nth(k) for k in (0, 1))
        assert "Executed notebooks" in index.locator("body").inner_text()
        assert opened.locator("h1").first.inner_text()
