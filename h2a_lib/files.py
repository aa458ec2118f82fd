"""Every file of the project is written here: whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2a_lib.errors import UserError

# pandas and PyYAML are imported where they are used: the command line need not wait for them.
if TYPE_CHECKING:
    import pandas as pd

TEMPORARY = ".tmp-"
SECONDS_OF_A_DAY = 86_400
# What is the machine's fault, not the program's: full, over quota, read-only, not ours, broken, …
UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO),
}


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; take its name when the block ends well.

    The content reaches the disk (fsync) before the name does, so a reader, a kill or a full disk
    never meets half a file. On an error the temporary file is removed and `path` is as before; a
    full disk or a read-only folder is a UserError. The suffix is the same, since many writers
    choose a format by it.
    """
    with clear_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(), suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _fsync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def write_folder_atomically(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`; take its name when the block ends well.

    An earlier `folder` of that name is replaced, and is still whole if the block fails. A full
    disk or a read-only parent is a UserError.
    """
    with clear_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix()))
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _fsync(file)
            temporary.chmod(0o755)
            if folder.exists():
                _swap(temporary, folder)
            else:
                temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, folder: Path) -> None:
    """Give a new folder the name of an earlier one, which is removed."""
    # A folder cannot be renamed over a full one: move the old one aside first.
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix()))
    old = folder.replace(aside / folder.name)
    try:
        new.replace(folder)
    except OSError:
        old.replace(folder)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Say in one line that a file or folder cannot be written, and why; other errors pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (why := _why_unwritable(error)) is None:
            raise
        raise UserError(
            f"{path}: cannot be written: {why}. Nothing half-written is taken for whole: mend it, "
            "and run the same command again"
        ) from error


def _why_unwritable(error: BaseException) -> str | None:
    """Return what the system said; None if it was not the machine's fault."""
    cause: BaseException | None = error
    while cause is not None:  # torch raises errors of its own from it
        if isinstance(cause, OSError) and cause.errno in UNWRITABLE:
            return os.strerror(cause.errno)
        cause = cause.__context__
    return None


def remove(path: Path) -> None:
    """Remove a file if it is there; a read-only folder is a UserError."""
    with clear_errors(path):
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed writers left below a folder; what a living one writes is left alone.

    Of another machine (a cluster's) nothing is known but its age: after a day it is removed.
    """
    for path in folder.rglob(f"{TEMPORARY}*"):
        host, process, *_ = path.name.removeprefix(TEMPORARY).split("-")
        with contextlib.suppress(OSError, ValueError):
            if host == _host():
                abandoned = not is_alive(int(process))
            else:
                abandoned = time.time() - path.stat().st_mtime > SECONDS_OF_A_DAY
            if abandoned and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif abandoned:
                path.unlink()


def _prefix() -> str:
    """Return how the name of a temporary file begins: with who writes it."""
    return f"{TEMPORARY}{_host()}-{os.getpid()}-"


def _host() -> str:
    return socket.gethostname().replace("-", "_")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented, keys in the order given. NaN is an error, as JSON has none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write YAML, keys in the order given."""
    import yaml

    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=100))


def as_csv(frame: "pd.DataFrame") -> str:
    """Return a table without its index; floats as the shortest text that reads back the same."""
    return frame.to_csv(index=False, lineterminator="\n")


def write_csv(path: Path, frame: "pd.DataFrame") -> None:
    """Write a table as `as_csv` gives it."""
    write_text(path, as_csv(frame))


def read_csv(path: Path) -> "pd.DataFrame":
    """Read a table that `write_csv` wrote.

    Ids are text, and only an empty cell is a missing value: a hand may be called NA or 007.
    """
    import pandas as pd

    return pd.read_csv(
        path,
        dtype={"id": str},
        keep_default_na=False,
        na_values=[""],
        float_precision="round_trip",
    )


def is_same_csv(path: Path, frame: "pd.DataFrame") -> bool:
    """Return whether a file is there and is what `write_csv` would write."""
    return path.is_file() and path.read_text(encoding="utf-8") == as_csv(frame)


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_yaml(path: Path) -> Any:
    """Read YAML with plain types only."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def is_alive(process: int) -> bool:
    """Return whether a process of this machine runs."""
    try:
        with contextlib.suppress(PermissionError):  # another user's
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
