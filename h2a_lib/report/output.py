"""After rendering: check that the report is complete and loads nothing from the network."""

import re
from html.parser import HTMLParser
from pathlib import Path

# Left where a renderer did not resolve something.
UNRESOLVED = re.compile(r"\?(?:var|meta|invalid)[: ][\w.]*|\{\{<.*?>\}\}")
CSS_LOAD = re.compile(r"url\(\s*['\"]?(?!data:|#)([^'\")]+)|@import\s+['\"]([^'\"]+)")
LOADS = {"src", "srcset", "data-src", "poster", "data-background-image", "data-background-iframe"}
MOST_BYTES = 15_000_000
PDF_PAGE = re.compile(rb"/Type\s*/Page\b(?!s)")


def check_deck(html: Path, pdf: Path, own: str = "") -> tuple[list[str], int]:
    """Check a rendered deck; return all that is wrong, and the number of slides of the HTML.

    What occurs in `own`, the study's own words, is not unresolved: a folder may be called "?var:x".
    """
    if missing := _missing(html, pdf):
        return missing, 0
    page = _Page(html)
    problems = page.problems(own)
    n_pages = count_pages(pdf)
    if n_pages != page.n_slides:
        problems.append(
            f"{pdf.name} has {n_pages} pages for {page.n_slides} slides: a slide is too full"
        )
    return problems, page.n_slides


def check_article(html: Path, pdf: Path, own: str = "") -> list[str]:
    """Check a rendered article; return all that is wrong; `own` is as in `check_deck`."""
    return _missing(html, pdf) or _Page(html).problems(own)


def check_page(html: Path) -> list[str]:
    """Check that a notebook's page loads nothing; return all that is wrong."""
    return [f"{html.name} loads {address}" for address in sorted(_Page(html).loads)]


def _missing(*files: Path) -> list[str]:
    return [f"{file.name} was not written" for file in files if not file.is_file()]


def count_pages(pdf: Path) -> int:
    """Pages of a PDF as Typst writes it, its page objects uncompressed."""
    return len(PDF_PAGE.findall(pdf.read_bytes()))


class _Page(HTMLParser):
    """What an HTML page loads, leaves unresolved, and how many slides it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loads: set[str] = set()
        self.unresolved: set[str] = set()
        self.n_slides = 0
        self._inside = ""
        self._name, self._n_bytes = file.name, file.stat().st_size
        self.feed(file.read_text(encoding="utf-8"))

    def problems(self, own: str) -> list[str]:
        """Name all that is unresolved, loaded from elsewhere, or too large."""
        unresolved = sorted(what for what in self.unresolved if what not in own)
        problems = [f"{self._name}: {what} is unresolved" for what in unresolved]
        problems += [f"{self._name} loads {address}" for address in sorted(self.loads)]
        if self._n_bytes > MOST_BYTES:
            problems.append(f"{self._name} has {self._n_bytes / 1e6:.0f} MB; at most 15 are wanted")
        return problems

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag
        if tag == "section" and "level2" in values.get("class", "").split():
            self.n_slides += 1
        loading = {values[name] for name in LOADS & values.keys()}
        if tag == "link":
            loading.add(values.get("href", ""))
        outside = {load for load in loading if load and not load.startswith(("data:", "#"))}
        self.loads |= {load[:80] for load in outside}
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
