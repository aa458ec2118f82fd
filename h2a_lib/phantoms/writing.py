"""Write a set of phantoms in the layout of the RSNA data."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from h2a_lib.data.pool import cores, in_parallel
from h2a_lib.errors import UserError
from h2a_lib.files import write_folder_atomically, write_json
from h2a_lib.phantoms.population import sample_child, simulate_label
from h2a_lib.phantoms.render import PhantomImage, render
from h2a_lib.phantoms.streams import Stream

VERSION = "7"
NAME = "boneage-training-dataset"
COMPANION = "phantom.json"
TRUTH = "phantom-truth.csv"
LEFT_BY_DESKTOPS = {".DS_Store", "Thumbs.db", "desktop.ini"}
NOTICE = "Synthetic hand radiograph (phantom) drawn by Hand-To-Age; it shows no patient."
# Drawn by one process at a time: a second's work, so that the bar moves.
CHUNK = 8
TRUTH_COLUMNS = ("id", "age_months", "male", "kind", "right_hand", "height_px", "width_px")


def write(
    out: Path,
    n: int,
    seed: int,
    height_px: int = 640,
    *,
    processes: int | None = None,
    progress: bool = True,
    heaping: float = 0.0,
    reader_noise_months: float = 0.0,
    overwrite: bool = False,
) -> None:
    """Write a set of phantoms: labels, images, a companion file, and the ground truth.

    ``boneage-training-dataset.csv`` (id, boneage, male) and ``boneage-training-dataset/<id>.png``
    are what the RSNA data look like. ``phantom.json`` says that they are synthetic and how they
    were made; ``phantom-truth.csv`` holds the exact ages behind the labels. An id's image does not
    depend on `n` or on the number of processes (all cores by default). The folder appears when it
    is complete. For the labels see `population.simulate_label`.

    A UserError if a number makes no sense, if there is a set of phantoms already and `overwrite` is
    not given, and always if the folder holds anything else.
    """
    if n < 1 or height_px < 32 or not 0 <= heaping <= 1 or reader_noise_months < 0 or seed < 0:
        raise UserError(
            "phantoms need n >= 1, seed >= 0, height_px >= 32, heaping from 0 to 1 and"
            f" reader_noise_months >= 0; got {n}, {seed}, {height_px}, {heaping},"
            f" {reader_noise_months}"
        )
    if other := _not_a_phantom(out):
        raise UserError(f"{other} is no part of a set of phantoms: name another folder")
    if not overwrite and (out / COMPANION).exists():
        raise UserError(
            f"{out} holds a set of phantoms: name another folder, or replace it (--again)"
        )
    with write_folder_atomically(out) as folder:
        (folder / NAME).mkdir()
        chunks = [range(i, min(i + CHUNK, n + 1)) for i in range(1, n + 1, CHUNK)]
        drawn = in_parallel(
            _draw,
            chunks,
            *(folder / NAME, seed, height_px, heaping, reader_noise_months),
            processes=min(processes or cores(), len(chunks)),
            title="phantoms",
            progress=progress,
        )
        with (
            (folder / f"{NAME}.csv").open("w", newline="") as labels,
            (folder / TRUTH).open("w", newline="") as truth_file,
        ):
            write_label = csv.writer(labels, lineterminator="\n").writerow
            write_truth = csv.writer(truth_file, lineterminator="\n").writerow
            write_label(("id", "boneage", "male"))
            write_truth(TRUTH_COLUMNS)
            for label, truth in _in_order(drawn):
                write_label(label)
                write_truth(truth)
        write_json(
            folder / COMPANION,
            {
                "synthetic": True,
                "notice": NOTICE,
                "generator": "h2a_lib.phantoms",
                "version": VERSION,
                "n": n,
                "seed": seed,
                "height_px": height_px,
                "heaping": heaping,
                "reader_noise_months": reader_noise_months,
            },
        )


def save_png(phantom: PhantomImage, path: Path) -> None:
    """Write a phantom's image as 8-bit grey PNG that says in its metadata what it is."""
    info = PngInfo()
    info.add_text("Description", NOTICE)
    info.add_text("Synthetic", "true")
    info.add_text("Software", f"h2a_lib.phantoms {VERSION}")
    Image.fromarray(phantom.image).save(path, pnginfo=info, compress_level=1)


def render_arguments(seed: int, number: int) -> tuple[float, bool, int]:
    """Return the arguments of `render` for one id of a set: age in months, sex and image seed."""
    age_months, male = sample_child(Stream(seed, number, "child"))
    return age_months, male, (seed << 32) + number


def _draw(
    numbers: range,
    folder: Path,
    seed: int,
    height_px: int,
    heaping: float,
    reader_noise_months: float,
) -> tuple[range, list[tuple[tuple, tuple]]]:
    """Draw and write some ids; return them, and for each its rows of labels and of the truth."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the processes already use all cores
    try:
        rows = []
        for number in numbers:
            age_months, male, image_seed = render_arguments(seed, number)
            label = simulate_label(
                age_months, male, heaping, reader_noise_months, Stream(seed, number, "label")
            )
            phantom = render(age_months, male, image_seed, height_px)
            save_png(phantom, folder / f"{number}.png")
            size = phantom.image.shape
            truth = (number, f"{age_months:.2f}", male, phantom.kind, phantom.right_hand, *size)
            rows.append(((number, label, male), truth))
        return numbers, rows
    finally:
        cv2.setNumThreads(before)


def _in_order(drawn: Iterable[tuple[range, list]]) -> Iterator[tuple[tuple, tuple]]:
    """Yield the rows of chunks by id; what comes early waits, a few chunks at most."""
    early, due = {}, 1
    for numbers, rows in drawn:
        early[numbers.start] = rows
        while due in early:
            ready = early.pop(due)
            yield from ready
            due += len(ready)


def _not_a_phantom(out: Path) -> Path | None:
    """Return something at `out` that `write` did not make, if there is any."""
    if not out.is_dir():
        return out if out.exists() else None
    made = {f"{NAME}.csv", COMPANION, TRUTH} if (out / COMPANION).is_file() else set()
    for path in sorted(out.rglob("*")):
        if path.name in LEFT_BY_DESKTOPS:
            continue
        is_image = path.parent == out / NAME and path.stem.isdecimal() and path.suffix == ".png"
        if not (is_image or path == out / NAME or path.relative_to(out).as_posix() in made):
            return path
    return None
