"""Bring the radiographs into one folder: from Kaggle, from archives, or from where they lie."""

import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from h2a_lib.data import layout, pool
from h2a_lib.data.labels import AS_HEADED, IMAGE_SUFFIXES, TableFormat
from h2a_lib.errors import UserError, expand_user, suggestion
from h2a_lib.files import UNWRITABLE, clear_errors, write_atomically

KAGGLE = "kaggle"
KAGGLE_DATASET = "kmader/rsna-bone-age"
# The archive (about 9.3 GB) and, beside it, what is unpacked from it.
KAGGLE_BYTES = 20_000_000_000
# Left free whatever happens: a full disk harms more than this command.
SPARE_BYTES = 500_000_000
# The official validation archive holds archives; nothing official goes deeper.
DEEPEST_ARCHIVE = 3
# Radiographs hardly shrink in an archive, tables to a quarter; zeros shrink to a thousandth.
MOST_TIMES_LARGER = 100
BLOCK = 1 << 20

BY_HAND = """get the data by hand:
  1. Kaggle: sign in, open kaggle.com/datasets/kmader/rsna-bone-age, download the archive
     (or make a token under Settings > API, save it as ~/.kaggle/kaggle.json, and try again)
  2. or RSNA: look for "RSNA Pediatric Bone Age Challenge 2017" on rsna.org; training set,
     its annotations, validation set and test set are separate archives
  3. then: h2a data fetch --source THE_ARCHIVE.zip (several are taken) --out FOLDER"""


def fetch(
    wanted: Sequence[str | Path], out: Path, *, copy: bool = False, form: TableFormat = AS_HEADED
) -> list[layout.ImageSet]:
    """Bring radiographs into a folder and find the image sets in it.

    `wanted` are "kaggle", archives (.zip, with archives in them), or folders that hold any of
    these, whose files are linked to, or else copied. Files that already exist with the same content
    are left, so an interrupted fetch resumes.

    A UserError if a source does not exist, is no archive or is damaged, if a path in it leaves the
    folder, if the disk is too small, if a file would be overwritten by another, if Kaggle refuses
    (with what to do by hand), or if no image set is found in the end.
    """
    if not wanted:
        raise UserError("name a source: kaggle, a folder, or one or more archives (.zip)")
    out = Path(out)
    with clear_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for source in wanted:
            path = _from_kaggle() if str(source) == KAGGLE else expand_user(Path(source))
            if path.is_dir():
                _take_folder(path.resolve(), out, copy, form)
            elif path.is_file():
                unpack(path, out)
            else:
                hint = suggestion(source, [KAGGLE])
                raise UserError(
                    f"{path} does not exist{hint}: name kaggle, a folder, or an archive (.zip)"
                )
    return layout.locate(out, form)[0]


# --- archives ------------------------------------------------------------------------------------


def unpack(archive: Path, out: Path, *, depth: int = 1, most_bytes: int | None = None) -> int:
    """Unpack a zip archive, and the archives in it, into a folder; return the bytes that it holds.

    `depth` is how many archives this one is in, itself counted. `most_bytes` is what it may hold,
    its archives' content counted; by default so many times its size as no archive of radiographs
    does. A UserError is as of `fetch`; nothing is unpacked if any path in the archive is unsafe.
    """
    if most_bytes is None:
        most_bytes = MOST_TIMES_LARGER * archive.stat().st_size
    try:
        with zipfile.ZipFile(archive) as opened:
            members = list(_members(opened, archive, out))
            n_bytes = sum(one.file_size for one, _ in members)
            if n_bytes > most_bytes:
                raise UserError(f"{archive}: unpacks to {n_bytes:,} bytes: no radiographs' archive")
            missing = [(one, to) for one, to in members if not _is_there(to, one)]
            _check_space(out, sum(one.file_size for one, _ in missing), archive)
            hidden = not pool.is_watched()
            with tqdm(missing, desc=archive.name, unit="file", disable=hidden) as bar:
                for member, to in bar:
                    n_bytes += _write(opened, member, to, depth, most_bytes - n_bytes)
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, struct.error, IndexError),
        *(NotImplementedError, RuntimeError),  # an exotic compression, a password
    ) as error:
        raise UserError(f"{archive}: not a sound zip archive: {error}") from None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in UNWRITABLE:
            raise  # the disk's fault, told by `fetch`
        # Names that are too long or no names here, or one that is both a file and a folder.
        raise UserError(f"{archive}: cannot be unpacked: {error}") from None
    return n_bytes


def _members(
    opened: zipfile.ZipFile, archive: Path, out: Path
) -> Iterator[tuple[zipfile.ZipInfo, Path]]:
    """Yield the files of an archive and where each goes; refuse any that would leave `out`."""
    files = [one for one in opened.infolist() if not one.is_dir()]
    below = out / _folder_for(archive, [one.filename for one in files])
    members: dict[Path, str] = {}
    for member in files:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        unsafe = (
            not parts
            or parts[0] == "/"
            or ".." in parts
            or ":" in parts[0]
            or "\0" in member.filename
        )
        if unsafe:
            raise UserError(f"{archive}: unsafe path {member.filename!r}: nothing was unpacked")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{archive}: {member.filename!r} is a link: nothing was unpacked")
        if any(layout.JUNK.match(part) for part in parts):
            continue
        to = below.joinpath(*parts)
        if to in members:
            raise UserError(f"{archive}: holds {member.filename!r} twice")
        members[to] = member.filename
        # A link that lies in `out` already must not lead a file elsewhere either.
        if not to.parent.resolve().is_relative_to(out.resolve()):
            raise UserError(f"{archive}: {to} leads out of {out}: nothing was unpacked")
        yield member, to


def _folder_for(archive: Path, names: Sequence[str]) -> str:
    """Return the folder to unpack into: the archive's own name if its images have no folder."""
    bare = any("/" not in name and name.lower().endswith(IMAGE_SUFFIXES) for name in names)
    return archive.stem.replace("+", " ") if bare else ""


def _is_there(to: Path, member: zipfile.ZipInfo) -> bool:
    """Whether a file is there already; one that differs is an error."""
    if _is_archive(to) or not to.exists():  # of an archive, the content is compared, not itself
        return False
    if to.stat().st_size == member.file_size and _crc(to) == member.CRC:
        return True
    raise _differs(to)


def _differs(to: Path) -> UserError:
    return UserError(
        f"{to} already exists with different content: name another folder, or remove it"
    )


def _write(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path, depth: int, most_bytes: int
) -> int:
    """Write a member, or what is in it if it is an archive; return the bytes of the latter."""
    if not _is_archive(to):
        # Not fsynced, unlike the project's own files (with it 12,611 files take 70 s more): what a
        # power cut spoils has another CRC, and the next fetch says so.
        to.parent.mkdir(parents=True, exist_ok=True)
        temporary = to.with_name(f".part-{to.name}")
        _copy(opened, member, temporary)
        temporary.replace(to)
        return 0
    if depth >= DEEPEST_ARCHIVE:
        raise UserError(
            f"{opened.filename}: archives in archives, more than {DEEPEST_ARCHIVE} deep"
        )
    # To be unpacked, an archive must lie on the disk; there it goes by its own name.
    inner = to.with_name(f".unpacking-{to.name}") / to.name
    inner.parent.mkdir(parents=True, exist_ok=True)
    try:
        _copy(opened, member, inner)
        return unpack(inner, to.parent, depth=depth + 1, most_bytes=most_bytes)
    finally:
        shutil.rmtree(inner.parent, ignore_errors=True)


def _copy(opened: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    # zipfile reads no further than the size in the header and checks the CRC at the end.
    with opened.open(member) as source, to.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _crc(path: Path) -> int:
    check = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            check = zlib.crc32(block, check)
    return check


def _check_space(out: Path, needed: int, what: Path | str) -> None:
    free = shutil.disk_usage(out).free - SPARE_BYTES
    if needed > free:
        raise UserError(
            f"{what} needs {needed / 1e9:.1f} GB in {out}, and {max(free, 0) / 1e9:.1f} GB are "
            "free there"
        )


# --- folders -------------------------------------------------------------------------------------


def _take_folder(folder: Path, out: Path, copy: bool, form: TableFormat) -> None:
    """Link (or copy) the tables and images of a folder, and unpack its archives."""
    archives = sorted(one for one in folder.glob("*") if one.is_file() and _is_archive(one))
    sets: list[layout.ImageSet] = []
    if folder != out.resolve():
        try:
            sets, _ = layout.locate(folder, form)
        except UserError:
            if not archives:
                raise
    for image_set in sets:
        for one in (image_set.table, *image_set.folders):
            # Images beside their table come one by one: `out` itself is no link.
            for part in layout.images_in(one) if one == folder else [one]:
                _bring(part, out / part.relative_to(folder), copy)
    for archive in archives:
        unpack(archive, out)


def _bring(source: Path, to: Path, copy: bool) -> None:
    """Link or copy a table or a folder of images; the same as before is left."""
    if to.resolve() == source.resolve():
        return
    if to.exists() or to.is_symlink():
        if copy and source.is_dir() and to.is_dir() and not to.is_symlink():
            for one in sorted(source.iterdir()):
                if one.is_file():
                    _bring(one, to / one.name, copy)
            return
        if source.is_file() and to.is_file() and _crc(source) == _crc(to):
            return
        raise _differs(to)
    if not copy:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.symlink_to(source, target_is_directory=source.is_dir())
    elif source.is_dir():
        files = [one for one in source.iterdir() if one.is_file()]
        to.mkdir(parents=True)
        _check_space(to, sum(one.stat().st_size for one in files), source)
        for one in sorted(files):
            _bring(one, to / one.name, copy)
    else:
        with write_atomically(to) as temporary:
            shutil.copyfile(source, temporary)


# --- Kaggle --------------------------------------------------------------------------------------


def _from_kaggle() -> Path:
    """Download Kaggle's copy into kagglehub's own cache and return its folder.

    kagglehub finds the credentials, goes on with an interrupted download and unpacks.
    """
    import requests

    try:
        import kagglehub
        from kagglehub import exceptions
    except ImportError:
        raise UserError(f"kagglehub is not installed; {BY_HAND}") from None
    cache = Path(os.environ.get("KAGGLEHUB_CACHE", Path.home() / ".cache" / "kagglehub"))
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "datasets" / KAGGLE_DATASET).is_dir():
        _check_space(cache, KAGGLE_BYTES, "Kaggle's copy")
    try:
        return Path(kagglehub.dataset_download(KAGGLE_DATASET))
    except requests.HTTPError as error:
        status = getattr(error.response, "status_code", None)
        refused = status in (401, 403)
        why = f"Kaggle refused (HTTP {status})" if refused else f"Kaggle answered: {error}"
        raise UserError(f"{why}; {BY_HAND}") from None
    except (exceptions.UnauthenticatedError, exceptions.CredentialError) as error:
        raise UserError(f"Kaggle wants you to sign in ({error}); {BY_HAND}") from None
    except (requests.RequestException, OSError, exceptions.DataCorruptionError) as error:
        raise UserError(f"Kaggle could not be reached or broke off ({error}); {BY_HAND}") from None
