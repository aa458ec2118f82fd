"""The pages of executed notebooks and the index of a report."""

import re

import pytest
from notebook_pages import ALT, find_example_pages, write_example_pages

from h2a_lib.report.output import check_page
from h2a_lib.report.pages import figure_addresses


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_example_pages(tmp_path_factory.mktemp("pages"))


def test_a_figure_has_the_address_of_the_cell_that_drew_it(tmp_path):
    pages = find_example_pages(tmp_path)
    assert figure_addresses(pages) == {"curve": "notebooks/06_compare_runs.html#figure-curve"}


def test_the_anchor_stands_in_the_cell_with_the_figure(written):
    html = written[0].read_text()
    cell = html[html.index('id="figure-curve"') :]
    assert f'alt="{ALT}"' in cell and "study" in cell
    assert ALT not in html[: html.index('id="figure-curve"')]


def test_code_is_folded_and_outputs_are_not(written):
    html = written[0].read_text()
    assert html.count("<details><summary>Code</summary>") == 3, "what shows nothing folds as one"
    shown = re.sub(r"<details>.*?</details>", "", html, flags=re.DOTALL)
    assert "one line\nanother" in shown, "consecutive output is one block"
    assert "<table" in shown and "A caption." in shown
    assert "a comment" not in shown and "scoped" not in html


def test_pages_load_nothing_and_names_are_escaped(written):
    assert [problem for page in written for problem in check_page(page)] == []
    index = written[1].read_text()
    assert "made-up &lt;study&gt;" in index
    assert (
        '<a href="notebooks/06_compare_runs.html">06_compare_runs</a> A &lt;question&gt;' in index
    )
    for address in ("slides.html", "slides.pdf", "paper.html", "paper.pdf"):
        assert f'href="{address}"' in index
    assert "resnet18/seed-0" in index
