"""Pandoc, as the wheel pypandoc_binary brings it."""

import subprocess
from pathlib import Path

import pypandoc

from h2a_lib.errors import UserError


def run_pandoc(folder: Path, *arguments: str | Path) -> str:
    """Run Pandoc in a folder and return what it prints.

    A UserError if it fails or warns: a warning of Pandoc is something missing from the deck.
    """
    done = subprocess.run(
        [pypandoc.get_pandoc_path(), "--fail-if-warnings", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"pandoc could not render {arguments[0]}:\n{done.stderr.strip()}")
    return done.stdout
