"""How a notebook opens a study."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from h2a_lib.errors import UserError, require_file
from h2a_lib.study.workspace import Study, locate, newest_profile


def open_study(
    notebook: str,
    profile: str,
    data: str | Path | None = None,
    interactive: bool = True,
    needs: str = "data",
) -> Study:
    """Open a study: the first call of every notebook.

    An empty profile is that of the newest report, or smoke where there is none. Where somebody
    explores (`interactive`; the pipeline passes False), what the notebook needs is made first, the
    "data" or all "runs" of the profile too, and results go to the study's `scratch/`, so that
    exploring never changes the report.
    """
    show_user_errors_in_one_line()
    study = locate(profile or newest_profile(), data, notebook=notebook)
    if interactive:
        _prepare(study, needs)
    require_file(study.data_file, f"run `h2a report --profile {study.profile_name}` first")
    return dataclasses.replace(study, is_scratch=interactive)


def _prepare(study: Study, needs: str) -> None:
    """Make what is missing in a process of its own: a notebook need not know the pipeline."""
    command = [sys.executable, "-m", "h2a_lib.commands", "prepare", "--until", needs]
    options = ["--profile", study.profile_name, "--data", str(study.data_folder)]
    with subprocess.Popen(
        [*command, *options],
        cwd=study.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout
        last = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        raise UserError(last.removeprefix("h2a: ") or "the study could not be prepared")


def show_user_errors_in_one_line() -> None:
    """Let a UserError end a cell with its message alone, not with a page of traceback."""
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython

    def show(
        shell: Any, kind: type, error: Exception, _: TracebackType, tb_offset: int | None = None
    ) -> list[str]:
        lines = [f"{kind.__name__}: {error}"]
        shell._showtraceback(kind, error, lines)
        return lines

    if shell := get_ipython():  # type: ignore[no-untyped-call]
        shell.set_custom_exc((UserError,), show)
