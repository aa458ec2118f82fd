"""What comes out, through Pandoc and Typst; and through Quarto where it is installed."""

import os
import re
import shutil
import subprocess
from functools import cache
from html import unescape
from html.parser import HTMLParser

import pytest
import yaml
from pypdf import PdfReader
from report_results import (
    INTERVAL,
    MADE_FROM,
    OTHER_TABLES,
    RADIOGRAPHS,
    REPORT,
    SENTENCE,
    TIER,
    VALUES,
    first_slides,
    make_study,
)

from h2a_lib.errors import UserError
from h2a_lib.report import render
from h2a_lib.report.output import check_article, check_deck, count_pages
from h2a_lib.report.renderers import render_with_quarto


@pytest.fixture(scope="session")
def pdf(rendered):
    return PdfReader(rendered.pdf)


@cache
def page_texts(file):
    """The text of each page of a PDF."""
    return [page.extract_text() for page in PdfReader(file).pages]


class Deck(HTMLParser):
    """Titles, pictures and text of each slide."""

    def __init__(self, html):
        super().__init__()
        self.titles, self.alts, self.depth, self.in_title = [], [], 0, False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "h2":
            self.in_title = True
            self.titles.append("")
        elif tag == "img":
            self.alts.append(dict(attrs).get("alt"))

    def handle_endtag(self, tag):
        if tag == "h2":
            self.in_title = False

    def handle_data(self, data):
        if self.in_title:
            self.titles[-1] += data


@pytest.fixture(scope="session")
def deck(rendered):
    return Deck(rendered.html.read_text(encoding="utf-8"))


class Text(HTMLParser):
    """The text of an article by the id of the heading of level 2 above it."""

    def __init__(self, file):
        super().__init__()
        self.texts, self.current = {}, ""
        self.feed(file.read_text(encoding="utf-8"))

    def section(self, name):
        return "".join(self.texts[name])

    def handle_starttag(self, tag, attrs):
        if tag == "h2":
            self.current = dict(attrs).get("id", "")

    def handle_data(self, data):
        self.texts.setdefault(self.current, []).append(data)


def words(text):
    return re.sub(r"\W+", "", text)


def test_the_pdf_has_one_page_for_each_slide(rendered, pdf, deck):
    assert len(pdf.pages) == rendered.n_slides == len(deck.titles)


def test_pages_are_counted_as_a_pdf_reader_counts_them(rendered, pdf):
    assert count_pages(rendered.pdf) == len(pdf.pages)


def test_each_page_has_the_title_of_its_slide(rendered, deck):
    for page, title in zip(page_texts(rendered.pdf), deck.titles, strict=True):
        assert words(title) in words(page)


def test_pages_are_sixteen_by_nine(pdf):
    assert {(page.mediabox.width, page.mediabox.height) for page in pdf.pages} == {(960, 540)}


def test_speaker_notes_are_in_the_html_and_not_in_the_pdf(rendered):
    note = "The original asked for"
    assert note in rendered.html.read_text(encoding="utf-8")
    assert not any(note in page for page in page_texts(rendered.pdf))


def test_every_slide_has_speaker_notes(rendered):
    html = rendered.html.read_text(encoding="utf-8")
    assert html.count('<aside class="notes">') == rendered.n_slides


def test_the_notes_say_what_a_figure_was_drawn_from(rendered):
    html = rendered.html.read_text(encoding="utf-8")
    assert f"drawn by notebooks/99_made_up.ipynb from {MADE_FROM[0]} (sha256 " in html


def test_every_page_and_every_slide_names_the_tier(rendered):
    assert all(words(TIER) in words(page) for page in page_texts(rendered.pdf))
    html = rendered.html.read_text(encoding="utf-8")
    assert html.count('class="running tier"') == rendered.n_slides


def test_every_picture_has_alt_text_in_html_and_pdf(deck, pdf):
    assert len(deck.alts) > 20
    assert all(alt and len(alt.split()) >= 4 for alt in deck.alts)
    alts = [
        entry["/Alt"]
        for number in range(1, len(pdf.xref_objStm) + max(pdf.xref[0]) + 1)
        if isinstance(entry := pdf.get_object(number), dict) and "/Alt" in entry
    ]
    assert sorted(set(alts)) == sorted(set(deck.alts))


def test_the_pdf_has_title_language_and_outline(pdf, deck):
    assert pdf.metadata.title == "Machine Learning Project - Hand-To-Age (H_2A)"
    assert pdf.trailer["/Root"]["/Lang"] == "en"

    def flat(outline):
        for entry in outline:
            yield from flat(entry) if isinstance(entry, list) else [entry.title]

    assert [words(title) for title in flat(pdf.outline)] == [words(t) for t in deck.titles]


def test_fonts_are_embedded_and_no_glyph_is_missing(rendered, pdf):
    assert not any("\N{REPLACEMENT CHARACTER}" in page for page in page_texts(rendered.pdf))
    for page in pdf.pages:
        for font in page["/Resources"]["/Font"].values():
            for inner in font.get_object().get("/DescendantFonts", []):
                keys = inner.get_object()["/FontDescriptor"].get_object().keys()
                assert keys & {"/FontFile", "/FontFile2", "/FontFile3"}


def test_words_in_a_figure_can_be_found_in_the_pdf(rendered, deck):
    number = deck.titles.index(next(t for t in deck.titles if "The data:" in t))
    assert words("error (months)") in words(page_texts(rendered.pdf)[number])


def test_the_pdf_weighs_less_than_the_html_and_no_radiograph_is_lost(rendered, pdf, deck):
    assert rendered.pdf.stat().st_size < rendered.html.stat().st_size / 2
    assert sum(len(page.images) for page in pdf.pages) == len(RADIOGRAPHS) + 1  # the opening


def test_the_html_stands_alone_and_is_small(rendered):
    problems, _ = check_deck(rendered.html, rendered.pdf)
    assert problems == []
    assert rendered.html.stat().st_size < 15e6
    written = {file.name for file in rendered.html.parent.iterdir()}
    assert written == {"slides.html", "slides.pdf", "paper.html", "paper.pdf", "index.html"}


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<img src="https://example.org/a.png">', "loads https://example.org/a.png"),
        ('<script src="mathjax.js"></script>', "loads mathjax.js"),
        ('<link rel="stylesheet" href="x.css">', "loads x.css"),
        ("<style>@import 'x.css';</style>", "loads x.css"),
        ("<style>a {background: url(fonts/a.woff)}</style>", "loads fonts/a.woff"),
        ("<p>{{&lt; var a.b &gt;}}</p>", "{{< var a.b >}} is unresolved"),
        ("<p><strong>?var:a.b</strong></p>", "?var:a.b is unresolved"),
    ],
)
def test_a_deck_that_is_not_whole_is_refused(rendered, tmp_path, html, problem):
    page = tmp_path / "slides.html"
    page.write_text(rendered.html.read_text(encoding="utf-8") + html, encoding="utf-8")
    problems, _ = check_deck(page, rendered.pdf)
    assert [what for what in problems if problem in what]


def test_a_slide_too_full_for_its_page_is_refused(project, study, tmp_path):
    deck = project / "slides.qmd"
    few = first_slides(project)
    lines = "\n\n".join(f"Line {i}." for i in range(40))
    deck.write_text(f"{few}\n\n## Too much\n\n{lines}\n")
    with pytest.raises(UserError, match="the slide 'Too much' is too full"):
        render(study / "results", project, tmp_path / "out", study, "pandoc")


def test_a_failed_render_leaves_the_last_good_deck(rendered, project, study, tmp_path):
    out = shutil.copytree(rendered.html.parent, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    (study / "results" / "variables" / "runs.yml").unlink()
    with pytest.raises(UserError):
        render(study / "results", project, out, study, "pandoc")
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


@pytest.mark.slow
def test_the_same_study_gives_the_same_bytes(rendered, full_study, project, tmp_path):
    again = render(full_study / "results", project, tmp_path / "out", full_study, "pandoc")
    assert again.html.read_bytes() == rendered.html.read_bytes()
    assert again.pdf.read_bytes() == rendered.pdf.read_bytes()


@pytest.mark.slow
def test_a_small_study_renders_with_what_it_has(project, tmp_path):
    drawn = {"ages_by_sex", "residual_block", "split_balance", "raw_grid"}
    make_study(tmp_path / "study", only=drawn)
    small = render(
        tmp_path / "study" / "results", project, tmp_path / "out", tmp_path / "study", "pandoc"
    )
    assert len(Deck(small.html.read_text(encoding="utf-8")).alts) == len(drawn) + 1  # the opening
    assert any("clusters" in title for title in small.left_out)
    html = words(small.html.read_text(encoding="utf-8"))
    assert all(words(title) in html for title in small.left_out)


def test_the_deck_in_docs_says_what_the_published_results_say():
    """`make deck` renews it."""
    slides = (REPORT / "slides.qmd").read_text(encoding="utf-8")
    slides = re.sub(r"^::: notes\n.*?^:::\n", "", slides, flags=re.DOTALL | re.MULTILINE)
    # What stands in for a missing age answer: this study has one.
    slides = re.sub(
        r'^::: \{\.unless has="\w+:age[_.](scatter|answer).*?^:::\n', "", slides, flags=re.S | re.M
    )
    # Slides without their radiographs fall out, and the variables of images with them.
    parts = re.split(r"^(?=## )", slides, flags=re.MULTILINE)
    # And the slide that stands in for that of the gap between the sexes.
    left_out = (".png)", "#age-errors")
    slides = "".join(part for part in parts if not any(word in part for word in left_out))
    used = set(re.findall(r"\{\{< var ([a-z0-9_]+)\.([a-z0-9_]+) >\}\}", slides))
    message = words("".join(page_texts(REPORT.parent / "docs" / "decks" / "rsna-100px.pdf")))
    for group in ("study", "population", "runs", "age", "clusters"):
        file = REPORT.parent / "results" / "rsna-100px" / "variables" / f"{group}.yml"
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        shown = {key: words(str(value)) for key, value in values.items() if (group, key) in used}
        assert shown
        assert {key for key, value in shown.items() if value not in message} == set()


def test_the_article_stands_alone_and_says_what_the_deck_says(rendered, pdf):
    assert check_article(rendered.paper_html, rendered.paper_pdf) == []
    article = PdfReader(rendered.paper_pdf)
    text = words("".join(page_texts(rendered.paper_pdf)))
    assert words(TIER) in text
    assert words(VALUES["population"]["fingerprint"]) in text
    assert article.metadata.title.startswith("Estimating bone age")
    assert article.trailer["/Root"]["/Lang"] == "en"


def test_in_the_pdf_of_the_article_no_interval_of_a_run_is_broken(rendered):
    lines = "\n".join(page_texts(rendered.paper_pdf)).splitlines()
    assert any("6.00 (5.50–6.50)" in line.replace("\N{NO-BREAK SPACE}", " ") for line in lines)


@pytest.mark.parametrize("document", ["pdf", "paper_pdf"])
def test_in_the_pdfs_no_range_is_broken_and_each_can_be_searched_for(by_each, document):
    pages = page_texts(getattr(by_each, document))
    lines = [line for page in pages for line in page.splitlines()]
    assert sum("0.844–0.861" in line for line in lines) > 5
    assert [line for line in lines if re.search(r"\d–$", line.rstrip())] == []


def test_in_the_pdf_of_the_article_a_short_table_keeps_to_its_page(by_each):
    pages = page_texts(by_each.paper_pdf)
    for columns, n in OTHER_TABLES.values():
        rows = [f"{columns.split()[0]} {i} " for i in range(n)]
        if n < 20:
            assert any(all(row in page for row in rows) for page in pages), columns


def test_the_article_answers_every_item_of_the_checklist(rendered):
    source = (REPORT / "paper.qmd").read_text(encoding="utf-8")
    table = source[source.index("{#checklist}") :]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == [str(i) for i in range(1, 26)]
    linked = set(re.findall(r"\]\(#([\w-]+)\)", table))
    there = set(re.findall(r' id="([\w-]+)"', rendered.paper_html.read_text(encoding="utf-8")))
    assert linked <= there


def test_the_title_names_task_method_population_and_that_it_is_research(rendered):
    title = PdfReader(rendered.paper_pdf).metadata.title
    for word in ("age", "sex", "residual networks", TIER, "radiograph", "not for diagnosis"):
        assert word in title
    opening = words(page_texts(rendered.pdf)[0]).lower()
    for word in ("child", "radiograph", "age", "sex", "residual networks", "not for diagnosis"):
        assert words(word) in opening


def test_the_summary_is_filled_from_results(rendered):
    text = words(Text(rendered.paper_html).section("summary"))
    population, runs = VALUES["population"], INTERVAL
    for value in (population["n_train"], population["n_validation"], runs, TIER):
        assert words(value) in text
    external = VALUES["age"]["external_source"]
    assert words(f"Additional images. {external} {SENTENCE}") in text
    assert words("for testing") not in text  # there are none


def test_the_plain_summary_is_short_and_without_statistics(rendered):
    plain = Text(rendered.paper_html).section("plain")
    assert 100 <= len(plain.split()) <= 160  # with its heading
    assert "CI" not in plain and "n =" not in plain.replace("\N{NO-BREAK SPACE}", " ")


def test_every_table_of_the_article_has_a_number_and_a_caption(rendered):
    html = rendered.paper_html.read_text(encoding="utf-8")
    made = html.count("<table") - 1  # the checklist is no result
    assert html.count("<caption") == made > 8
    text = " ".join(page_texts(rendered.paper_pdf))
    assert all(f"Table {number}." in text for number in range(1, made + 1))


def test_the_statements_are_made(rendered):
    message = Text(rendered.paper_html).section("statements")
    for what in ("Registration", "Funding", "Interests", "Code", "Data", "Weights"):
        assert f"{what}." in message


def test_every_figure_links_its_notebook_and_its_run(rendered):
    html = rendered.html.read_text(encoding="utf-8")
    n_figures = html.count('<figure class="shown">') - 1  # the opening is no result
    assert n_figures == html.count('href="../../../notebooks/99_made_up.ipynb"')
    run = '<a href="../../../runs/test/cyclic_triangular/seed-0">3 runs</a>'
    assert n_figures == html.count(f"{run}</span>")


def test_an_unknown_renderer_is_refused(project, study, tmp_path):
    with pytest.raises(UserError, match="unknown renderer 'word'; known: auto, quarto, pandoc"):
        render(study / "results", project, tmp_path / "out", study, "word")


def test_quarto_where_it_is_not_installed_is_refused(project, study, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="quarto is not on the PATH"):
        render(study / "results", project, tmp_path / "out", study, "quarto")


TYPST_FAILED = """[1/2] slides.qmd
[typst]: Compiling slides.typ to slides.pdf...DONE

[2/2] paper.qmd
[typst]: Compiling paper.typ to paper.pdf...error: error: unclosed delimiter
    ┌─ report/paper.typ:656:14
    │
656 │ #let broken = (

ERROR: error: error: unclosed delimiter
ERROR: Typst compilation failed
"""
FILTER_FAILED = """[1/2] slides.qmd
\x1b[31mERROR (filters/content.lua:288) table x has no column y
\x1b[39m[typst]: Compiling slides.typ to slides.pdf...DONE

[2/2] paper.qmd
[typst]: Compiling paper.typ to paper.pdf...DONE
"""
NO_BIBLIOGRAPHY = """[1/2] slides.qmd
File nothing.bib not found in resource path
WARN: Error encountered when rendering files
"""
WARNED = """[1/2] slides.qmd
\x1b[33mWARNING (filters/content.lua:3) odd
\x1b[39m[WARNING] Citeproc: citation nobody not found
[typst]: Compiling slides.typ to slides.pdf...warning: unknown font family: nonesuch
DONE
"""


@pytest.fixture
def fake_quarto(tmp_path, monkeypatch):
    """Return a maker of a command `quarto` with a given log and exit code, which leaves a file."""

    def make(log, code):
        (tmp_path / "log").write_text(log, encoding="utf-8")
        command = tmp_path / "bin" / "quarto"
        command.parent.mkdir()
        # What it renders goes to `--output-dir`, inside the project.
        command.write_text(
            f'#!/bin/sh\ncat "{tmp_path}/log"\ntouch "$2/paper.html"\n'
            f'cd "$2/$4" && touch slides.html slides.pdf paper.html paper.pdf\nexit {code}\n'
        )
        command.chmod(0o755)
        monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
        return tmp_path / "project", tmp_path / "out"

    (tmp_path / "project").mkdir()
    (tmp_path / "out").mkdir()
    return make


@pytest.mark.parametrize(
    ("log", "code", "message"),
    [
        (TYPST_FAILED, 1, "paper.qmd: unclosed delimiter, report/paper.typ:656:14"),
        (FILTER_FAILED, 0, "slides.qmd: (filters/content.lua:288) table x has no column y"),
        (NO_BIBLIOGRAPHY, 1, "slides.qmd: File nothing.bib not found in resource path"),
        ("", 1, "the report: it did not say why"),
    ],
    ids=["typst", "filter", "bibliography", "silent"],
)
def test_quarto_that_fails_is_one_line_and_leaves_nothing(fake_quarto, log, code, message):
    project, folder = fake_quarto(log, code)
    with pytest.raises(UserError) as refused:
        render_with_quarto(project, folder)
    again = f"`quarto render {project}` says more"
    assert str(refused.value) == f"quarto could not render {message} ({again})"
    assert not list(project.iterdir())
    assert not list(folder.iterdir())


def test_warnings_of_quarto_are_logged(fake_quarto, caplog):
    project, folder = fake_quarto(WARNED, 0)
    render_with_quarto(project, folder)
    assert [record.getMessage() for record in caplog.records] == [
        "quarto: (filters/content.lua:3) odd",
        "quarto: Citeproc: citation nobody not found",
        "quarto: unknown font family: nonesuch",
    ]
    assert len(list(folder.iterdir())) == 4


def test_quarto_and_pandoc_give_the_same_deck(quarto_rendered, deck, pdf):
    theirs = Deck(quarto_rendered.html.read_text(encoding="utf-8"))
    assert [words(t) for t in theirs.titles] == [words(t) for t in deck.titles]
    assert theirs.alts == deck.alts
    pages = PdfReader(quarto_rendered.pdf).pages
    assert [words(p.extract_text()) for p in pages] == [words(p.extract_text()) for p in pdf.pages]


def test_quarto_and_pandoc_give_the_same_article(quarto_rendered, rendered):
    theirs, ours = (
        [words(page.extract_text()) for page in PdfReader(one.paper_pdf).pages]
        for one in (quarto_rendered, rendered)
    )
    assert theirs == ours
    theirs, ours = (Text(one.paper_html).texts for one in (quarto_rendered, rendered))
    sections = [name for name in ours if name in theirs and name]
    assert len(sections) > 10
    for name in sections:
        assert words("".join(theirs[name])) == words("".join(ours[name]))


def test_nothing_staged_is_committed():
    ignored = (REPORT / ".gitignore").read_text(encoding="utf-8")
    for name in ("_staged.json", "_variables.yml", "figures/", "fonts/", "_output/", "*.html"):
        assert f"/{name}" in ignored


@pytest.mark.parametrize(
    "name",
    [
        "paper.tex",
        "paper.log",
        "paper.html",
        "paper.html.md",
        "site_libs/x.js",
        "slides_files/x.js",
    ],
)
def test_what_a_renderer_may_leave_is_not_taken_into_git(name):
    words = ["git", "check-ignore", "--quiet", f"report/{name}"]
    assert subprocess.run(words, cwd=REPORT.parent, check=False).returncode == 0


ODD = "?var:x {{< meta title >}} ?meta:y's"


@pytest.mark.slow
def test_what_the_study_itself_is_called_is_not_taken_for_unresolved(project, study, tmp_path):
    variables = study / "results" / "variables" / "study.yml"
    values = yaml.safe_load(variables.read_text()) | {"tier_label": ODD}
    variables.write_text(yaml.safe_dump(values))
    table = study / "results" / "tables" / "runs.csv"
    table.write_text(table.read_text().replace("resnet18,", "?invalid:z,", 1))
    (project / "slides.qmd").write_text(first_slides(project))
    done = render(study / "results", project, tmp_path / "out", study, "pandoc")
    assert words(ODD) in words(unescape(done.paper_html.read_text(encoding="utf-8")))


class Links(HTMLParser):
    """Every id of a page, and every link within it."""

    def __init__(self, file):
        super().__init__()
        self.ids, self.targets = [], set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        href = values.get("href") or ""
        self.targets |= {href.removeprefix("#").removeprefix("/")} if href[:1] == "#" else set()


@pytest.mark.parametrize("document", ["html", "paper_html"])
def test_no_id_is_given_twice_and_each_link_within_a_document_leads_somewhere(by_each, document):
    page = Links(getattr(by_each, document))
    assert len(page.ids) == len(set(page.ids))
    assert page.targets - set(page.ids) == set()
    # Quarto leads each citation of a deck to the slide of references, Pandoc to its entry there.
    assert page.targets == {"references"} or len(page.targets) > 5
    if document.startswith("paper"):
        assert any(target.startswith("ref-") for target in page.targets)
