"""`h2a diff`: what differs between two studies, published results or revisions."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2a_lib.commands.shared import print_frame
from h2a_lib.errors import UserError, unknown

if TYPE_CHECKING:
    from h2a_lib.analysis.comparison.studies import StudyDifference, StudyRecord

# Longer values are sentences, which follow from the numbers; --json has them.
LONGEST = 80


def command(
    a: Annotated[str, typer.Argument(help="A study, a results folder, or REVISION:FOLDER of git.")],
    b: Annotated[str, typer.Argument(help="The study to compare it with.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two studies: settings, data, versions, then the numbers that differ.

    Each is a name under results/ ("smoke"), a folder of published results, or one of a git
    revision ("HEAD~1:results/rsna-100px"). Differences are B minus A, with 95 % intervals, paired
    where the predictions of both are on this machine. Exit code: 0 if nothing differs, 1 if
    something does.
    """
    import json

    from h2a_lib.analysis.comparison.studies import compare_studies

    with ExitStack() as stack:
        sides = [stack.enter_context(_opened(name)) for name in (a, b)]
        difference = compare_studies(*sides)
    if as_json:
        typer.echo(json.dumps(difference.as_json(), indent=2, ensure_ascii=False))
    else:
        _print(difference)
    raise typer.Exit(0 if difference.is_empty else 1)


@contextmanager
def _opened(name: str) -> "Iterator[StudyRecord]":
    """Open a study by its name, folder or revision; a revision only for as long as this lasts."""
    from h2a_lib.analysis.comparison.studies import StudyRecord
    from h2a_lib.pipeline.environment import temporary_parent
    from h2a_lib.study.workspace import project_root

    if Path(name).is_dir():
        yield StudyRecord.open(Path(name), name)
        return
    if ":" in name:
        with tempfile.TemporaryDirectory(prefix="h2a-diff-", dir=temporary_parent()) as temporary:
            yield StudyRecord.open(_from_git(name, Path(temporary)), name)
        return
    results = project_root() / "results"
    if not (results / name).is_dir():
        known = sorted(folder.name for folder in results.glob("*/"))
        if _is_revision(name):
            raise UserError(
                f"{name} is a revision of git: name a folder in it, as {name}:results/NAME"
            )
        raise unknown("study, folder or revision", name, known)
    yield StudyRecord.open(results / name)


def _is_revision(name: str) -> bool:
    words = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _from_git(name: str, out: Path) -> Path:
    """Write a folder of a revision to `out`, and return where it is."""
    revision, _, folder = name.partition(":")
    archive = out / "results.tar"
    # Not taken for an option, whatever it begins with.
    words = ["git", "archive", "--output", str(archive), "--end-of-options", revision, folder]
    try:
        subprocess.run(words, capture_output=True, text=True, check=True)
    except OSError:
        raise UserError(f"{name}: git is needed for another revision") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{name}: {error.stderr.strip().splitlines()[-1]}") from None
    import tarfile

    with tarfile.open(archive) as files:
        files.extractall(out / "tree", filter="data")
    return out / "tree" / folder


def _print(difference: "StudyDifference") -> None:
    from h2a_lib.analysis.comparison.studies import MEASURES
    from h2a_lib.analysis.statistics.bootstrap import number

    a, b = difference.a, difference.b
    if a == b:
        a, b = f"{a} (A)", f"{b} (B)"
    if difference.is_empty:
        typer.echo(f"no difference in settings, data and numbers between {a} and {b}")
    settings = [(c.of, c.name, c.a, c.b) for c in difference.settings]
    _print_rows("settings", ["run", "setting", a, b], settings)
    _print_rows("data", ["", a, b], [(c.name, c.a, c.b) for c in difference.data])
    _print_rows("versions", ["", a, b], [(c.name, c.a, c.b) for c in difference.versions])
    metrics = []
    for change in difference.metrics:
        digits = 1 if MEASURES[change.measure] else 3
        values = (number(change.a, digits), number(change.b, digits))
        metrics.append((change.run, change.measure, *values, change.text()))
    _print_rows("errors", ["run", "validation", a, b, "B minus A"], metrics)
    short = [c for c in difference.variables if max(len(c.a), len(c.b)) <= LONGEST]
    _print_rows("numbers of the report", ["variable", a, b], [(c.name, c.a, c.b) for c in short])
    if left := len(difference.variables) - len(short):
        typer.echo(f"{left} sentences of the report differ as well: --json has them")


def _print_rows(title: str, columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    import pandas as pd

    if rows:
        print_frame(pd.DataFrame(rows, columns=columns), title)
