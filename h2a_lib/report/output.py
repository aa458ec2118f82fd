"""After rendering: see that the deck is whole and asks nothing of the network."""

import re
from html.parser import HTMLParser
from pathlib import Path

# Left where a renderer did not resolve something.
UNRESOLVED = re.compile(r"\?(?:var|meta|invalid)[: ][\w.]*|\{\{<.*?>\}\}")
CSS_LOAD = re.compile(r"url\(\s*['\"]?(?!data:|#)([^'\")]+)|@import\s+['\"]([^'\"]+)")
LOADS = {"src", "srcset", "data-src", "poster", "data-background-image", "data-background-iframe"}
MOST_BYTES = 15_000_000
PDF_PAGE = re.compile(rb"/Type\s*/Page\b(?!s)")


def check_output(html: Path, pdf: Path) -> tuple[list[str], int]:
    """Check a rendered deck.

    Parameters
    ----------
    html, pdf : Path
        The deck in both forms.

    Returns
    -------
    problems : list of str
        All that is wrong.
    n_slides : int
        Slides of the HTML.
    """
    missing = [f"{file.name} was not written" for file in (html, pdf) if not file.is_file()]
    if missing:
        return missing, 0
    text = html.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    problems = [f"{html.name}: {what} is unresolved" for what in sorted(page.unresolved)]
    problems += [f"{html.name} loads {address}" for address in sorted(page.loads)]
    if len(text) > MOST_BYTES:
        problems.append(f"{html.name} has {len(text) / 1e6:.0f} MB; at most 15 are wanted")
    n_pages = count_pages(pdf)
    if n_pages != page.n_slides:
        problems.append(
            f"{pdf.name} has {n_pages} pages for {page.n_slides} slides: a slide is too full"
        )
    return problems, page.n_slides


def count_pages(pdf: Path) -> int:
    """Pages of a PDF as Typst writes it, its page objects uncompressed."""
    return len(PDF_PAGE.findall(pdf.read_bytes()))


class _Page(HTMLParser):
    """What an HTML deck loads, leaves unresolved, and how many slides it has."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: set[str] = set()
        self.unresolved: set[str] = set()
        self.n_slides = 0
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag
        if tag == "section" and "level2" in values.get("class", "").split():
            self.n_slides += 1
        loading = {values[name] for name in LOADS & values.keys()}
        if tag == "link":
            loading.add(values.get("href", ""))
        self.loads |= {
            load[:80] for load in loading if load and not load.startswith(("data:", "#"))
        }
        self._css(values.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self._css(data)
        elif self._inside != "script":
            self.unresolved |= set(UNRESOLVED.findall(data))

    def _css(self, text: str) -> None:
        self.loads |= {(match[1] or match[2])[:80] for match in CSS_LOAD.finditer(text)}
