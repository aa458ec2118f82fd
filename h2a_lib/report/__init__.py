"""The report of one study: deck, article, and a page for each notebook. It computes nothing.

`report/` is a real Quarto project. `render` stages the results of a study into it, checks that
everything they name is there and of this study, renders with Quarto or with Pandoc and Typst,
and checks what came out.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from h2a_lib.errors import UserError
from h2a_lib.files import write_folder_atomically
from h2a_lib.report.checks import check_numbers, check_source
from h2a_lib.report.outline import read_outline
from h2a_lib.report.output import check_article, check_deck, check_page
from h2a_lib.report.pages import figure_addresses, find_pages, write_index, write_pages
from h2a_lib.report.renderers import DOCUMENTS, RENDERERS, choose_renderer
from h2a_lib.report.staging import stage

log = logging.getLogger(__name__)

__all__ = ["Rendered", "render"]


@dataclass(frozen=True)
class Rendered:
    """What was rendered: deck, article, and the page that links all others.

    `left_out` are the titles of optional slides that the study has nothing for.
    """

    html: Path
    pdf: Path
    paper_html: Path
    paper_pdf: Path
    index: Path
    renderer: str
    n_slides: int
    left_out: tuple[str, ...]


def render(
    results: Path,
    project: Path,
    output: Path,
    root: Path,
    renderer: str = "auto",
    stand_ins: bool = True,
) -> Rendered:
    """Render the deck, the article and the notebooks of one study.

    The Quarto project `report/` shows the results, which are staged into it. The folder `output` is
    replaced as a whole when all is well. Figures' recorded inputs are relative to `root`. The
    renderer is "quarto", "pandoc", or "auto": Quarto where it is on the PATH. Published results
    take pictures of phantoms in place of their radiographs, unless there are to be no `stand_ins`.

    A UserError if slides name something the study lacks, a figure is older than the run it shows,
    or the renderer left something undone. All problems are listed at once, each with its slide.
    """
    chosen = choose_renderer(renderer)
    # Studies share the staged files: one renders at a time.
    with FileLock(project / ".lock"):
        pages = find_pages(results, root)
        staged = stage(results, project, stand_ins, figure_addresses(pages))
        outlines = {name: read_outline(project / f"{name}.qmd") for name in DOCUMENTS}
        problems = [
            f"{name}.qmd, {problem}"
            for name, outline in outlines.items()
            for problem in check_source(outline, staged, project, root)
        ]
        problems += check_numbers(staged)
        raise_if_any(f"what {results.name} shows", problems)
        for title in outlines["slides"].left_out:
            log.warning("left out, not part of this study: %s", title)
        with write_folder_atomically(output) as folder:
            RENDERERS[chosen](project, folder)
            own = "\n".join(staged.texts())
            problems, n_slides = check_deck(folder / "slides.html", folder / "slides.pdf", own)
            problems += check_article(folder / "paper.html", folder / "paper.pdf", own)
            written = write_pages(pages, project, folder, staged.tier_label)
            written.append(write_index(staged, pages, project, folder))
            problems += [problem for page in written for problem in check_page(page)]
            raise_if_any(f"what {chosen} rendered", problems)
    return Rendered(
        output / "slides.html",
        output / "slides.pdf",
        output / "paper.html",
        output / "paper.pdf",
        output / "index.html",
        chosen,
        n_slides,
        outlines["slides"].left_out,
    )


def raise_if_any(where: str, problems: list[str]) -> None:
    """Raise a UserError that lists all problems, if there are any."""
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {where}:"
        raise UserError("\n".join([count, *(f"  {problem}" for problem in problems)]))
