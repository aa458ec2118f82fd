"""Errors for the person who will read them: what is wrong, where, what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """Something the user can mend: shown as its message alone, with exit code 2."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the data, in words.

    `row` is the line in the file, counted as an editor does (the header is line 1); None for a
    whole file.
    """

    file: str
    row: int | None
    what: str

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}, line {self.row}"
        return f"{where}: {self.what}"


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems by file and line."""
    return sorted(problems, key=lambda problem: (problem.file, problem.row or 0, problem.what))


class DataError(UserError):
    """All the problems of a data set, reported at once."""

    MOST_SHOWN = 50

    def __init__(self, problems: Sequence[Problem]):
        self.problems = in_order(problems)
        shown = [f"  {problem}" for problem in self.problems[: self.MOST_SHOWN]]
        if (rest := len(self.problems) - len(shown)) > 0:
            shown.append(f"  … and {rest} more (h2a data check lists them all)")
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the data:"
        super().__init__("\n".join([count, *shown]))


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Return the error that a name is not known, which one may be meant, and those that are."""
    names = list(map(str, known))
    hint = suggestion(name, names)
    return UserError(f"unknown {kind} {str(name)!r}{hint}; known: {', '.join(names)}")


def suggestion(name: object, known: Iterable[str]) -> str:
    """Return " (did you mean 'resnet18'?)" where a known name is close to this one, else ""."""
    lower = {str(other).lower(): str(other) for other in known}
    close = get_close_matches(str(name).lower(), lower, n=1)
    return f" (did you mean {lower[close[0]]!r}?)" if close else ""


def require_file(path: Path, hint: str) -> Path:
    """Return `path` if it is a file, else raise a UserError that says `hint`."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: {hint}")
    return path


def expand_user(path: Path) -> Path:
    """Return a path with its ~ or ~user replaced; a UserError if there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such user") from None
