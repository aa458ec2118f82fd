"""Two renderers of one source: Quarto, or Pandoc with reveal.js and Typst."""

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typst
import yaml

from h2a_lib.errors import UserError, unknown
from h2a_lib.files import read_yaml
from h2a_lib.report.pandoc import run_pandoc
from h2a_lib.report.staging import reveal_folder

log = logging.getLogger(__name__)

DOCUMENTS = ("slides", "paper")
# What the front matter tells reveal.js; templates/slides.html knows the same names.
REVEAL = (
    *("width", "height", "margin", "center", "hash", "navigation-mode", "transition"),
    *("background-transition", "controls", "controls-layout", "progress"),
)
# How messages of Quarto, its filters, Pandoc and Typst begin; the first of Typst ends a line.
COLOUR = re.compile(r"\x1b\[[\d;]*m")
MESSAGES = {
    "error": re.compile(r"^(?:\[typst\].*\.{3})?(?:ERROR|FATAL|error)\b:? *(?:error: )?(.+)", re.M),
    "warning": re.compile(
        r"^(?:\[typst\].*\.{3})?(?:WARN(?:ING)?|\[WARNING\]|warning):? *(.+)", re.M
    ),
}


def choose_renderer(name: str) -> str:
    """Resolve "auto", and refuse what is unknown or not installed."""
    if name not in ("auto", *RENDERERS):
        raise unknown("renderer", name, ("auto", *RENDERERS))
    has_quarto = shutil.which("quarto") is not None
    if name == "quarto" and not has_quarto:
        raise UserError("quarto is not on the PATH; --renderer pandoc does without it")
    return ("quarto" if has_quarto else "pandoc") if name == "auto" else name


def render_with_pandoc(project: Path, folder: Path) -> None:
    """Render every document of the project, as staged, with Pandoc and Typst."""
    shared = read_yaml(project / "_quarto.yml")
    for name in DOCUMENTS:
        source = project / f"{name}.qmd"
        front = next(yaml.safe_load_all(source.read_text(encoding="utf-8")))
        formats = front.pop("format")
        settings = shared | front
        html = "revealjs" if "revealjs" in formats else "html"
        _pandoc_html(source, html, settings | formats[html], folder / f"{name}.html")
        _pandoc_pdf(source, settings | formats["typst"], folder / f"{name}.pdf")


def render_with_quarto(project: Path, folder: Path) -> None:
    """Render the project, as staged, with Quarto.

    A UserError if Quarto fails, or reports an error of a filter, at which it goes on. (`--quiet`
    would hide even errors.)
    """
    # An output folder inside the project, since Quarto moves what it rendered within one disk.
    with tempfile.TemporaryDirectory(dir=project, prefix="_output-") as temporary:
        try:
            done = subprocess.run(
                ["quarto", "render", str(project), "--output-dir", Path(temporary).name],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                check=False,
                env=os.environ | {"NO_COLOR": "1"},
            )
        finally:
            # Quarto moves a document away when all its formats are done.
            for name in DOCUMENTS:
                (project / f"{name}.html").unlink(missing_ok=True)
                (project / f"{name}.pdf").unlink(missing_ok=True)
        # Errors and warnings of a filter are in colour all the same.
        report = COLOUR.sub("", done.stdout)
        if done.returncode or MESSAGES["error"].search(report):
            again = f"`quarto render {project}` says more"
            raise UserError(f"quarto could not render {_failure(report)} ({again})")
        for warning in MESSAGES["warning"].findall(report):
            log.warning("quarto: %s", warning)
        for name in DOCUMENTS:
            for suffix in (".html", ".pdf"):
                shutil.move(Path(temporary) / f"{name}{suffix}", folder / f"{name}{suffix}")


def _failure(report: str) -> str:
    """Say in one line what Quarto could not render, and why: its first error, and where that is."""
    if error := MESSAGES["error"].search(report):
        before, what, after = report[: error.end()], error[1], report[error.end() :]
    else:
        # It ends with a warning that there was an error, after the error.
        lines = [line for line in report.splitlines() if line.strip() and "WARN" not in line]
        before, what, after = report, lines[-1] if lines else "it did not say why", ""
    documents = re.findall(r"^\[\d+/\d+\] (\S+)", before, re.M)
    where = re.match(r"\s*┌─ (\S+)", after)
    return f"{(documents or ['the report'])[-1]}: {what}{f', {where[1]}' if where else ''}"


RENDERERS: dict[str, Callable[[Path, Path], None]] = {
    "quarto": render_with_quarto,
    "pandoc": render_with_pandoc,
}


def _filters(settings: dict[str, Any]) -> list[str]:
    """Name the document's own filters, and the stand-in for Quarto's variables in its place."""
    before = [item["path"] for item in settings["filters"] if item["at"] == "pre-ast"]
    after = [item["path"] for item in settings["filters"] if item["at"] == "post-quarto"]
    return [f"--lua-filter={path}" for path in (*before, "filters/variables.lua", *after)]


def _arguments(source: Path, settings: dict[str, Any]) -> list[str]:
    return [
        source.name,
        "--from=markdown",
        "--standalone",
        "--wrap=none",
        *_filters(settings),
        "--citeproc",
        f"--bibliography={settings['bibliography']}",
        f"--metadata=lang={settings['lang']}",
        "--metadata=link-citations=true",
    ]


def _pandoc_html(source: Path, form: str, settings: dict[str, Any], output: Path) -> None:
    if form == "revealjs":
        values = {name: str(settings[name]).lower() for name in REVEAL}
        values["revealjs-url"] = str(reveal_folder())
        layout = [f"--variable={name}={value}" for name, value in values.items()]
        layout += ["--slide-level=2", "--template=templates/slides.html"]
        layout.append(f"--include-after-body={settings['include-after-body']}")
    else:
        # Not Pandoc's own look, but the CSS file's.
        layout = ["--variable=document-css=false", "--toc", f"--toc-depth={settings['toc-depth']}"]
        layout.append(f"--variable=toc-title={settings['toc-title']}")
    run_pandoc(
        source.parent,
        *_arguments(source, settings),
        f"--to={form}",
        "--mathml",
        "--embed-resources",
        f"--css={settings['css']}",
        *layout,
        f"--output={output}",
    )


def _pandoc_pdf(source: Path, settings: dict[str, Any], output: Path) -> None:
    # Typst finds pictures relative to its source, so that lies in the project while it compiles.
    handle, name = tempfile.mkstemp(dir=source.parent, prefix=f".{source.stem}-", suffix=".typ")
    os.close(handle)
    try:
        run_pandoc(
            source.parent,
            *_arguments(source, settings),
            # As in Quarto, citations are set by citeproc, not by Typst.
            "--to=typst-citations",
            f"--template={settings['template']}",
            f"--shift-heading-level-by={settings.get('shift-heading-level-by', 0)}",
            f"--output={name}",
        )
        compile_typst(Path(name), output, source.parent)
    finally:
        Path(name).unlink()


def compile_typst(source: Path, output: Path, project: Path) -> None:
    """Compile Typst to a tagged PDF with the staged fonts alone; a UserError where it warns too."""
    try:
        pdf, warnings = typst.compile_with_warnings(
            str(source),
            root=str(project),
            font_paths=[str(project / "fonts")],
            ignore_system_fonts=True,
            format="pdf",
        )
    except typst.TypstError as error:
        raise UserError(f"Typst could not render {output.name}: {error}") from error
    if warnings:
        messages = "; ".join(str(warning.message) for warning in warnings)
        raise UserError(f"Typst warned while rendering {output.name}: {messages}")
    output.write_bytes(pdf)
