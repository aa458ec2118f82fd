"""The command line in the test's own process: to start another takes longer than most commands."""

import contextlib
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from h2a_lib.commands import app

ROOT = Path(__file__).parents[2]


def h2a(*words: str, cwd: Path = ROOT, columns: int = 200) -> SimpleNamespace:
    """Run a command in a folder; return its exit code and what it printed."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["h2a", *words]),
        mock.patch.dict(os.environ, COLUMNS=str(columns)),
    ):
        try:
            app.main()
        except SystemExit as end:
            code = end.code or 0
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())
