"""Write a set of phantoms in the layout of the RSNA data."""

from itertools import chain
from pathlib import Path

import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from h2a_lib.data.pool import chunked, cores, in_parallel
from h2a_lib.errors import UserError
from h2a_lib.files import write_csv, write_folder_atomically, write_json
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
LABEL_COLUMNS = ["id", "boneage", "male"]
TRUTH_COLUMNS = ["id", "age_months", "male", "kind", "right_hand", "height_px", "width_px"]


def write(
    out: Path,
    n: int,
    seed: int,
    height_px: int = 640,
    *,
    processes: int | None = None,
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
        chunks = chunked(range(1, n + 1), CHUNK)
        drawn = in_parallel(
            _draw,
            chunks,
            *(folder / NAME, seed, height_px, heaping, reader_noise_months),
            processes=min(processes or cores(), len(chunks)),
            title="phantoms",
        )
        table = pd.DataFrame(chain.from_iterable(drawn)).sort_values("id")
        write_csv(folder / f"{NAME}.csv", table[LABEL_COLUMNS])
        write_csv(folder / TRUTH, table[TRUTH_COLUMNS])
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
) -> list[dict[str, object]]:
    """Draw and write some ids; return for each what stands of it in the two tables."""
    rows = []
    for number in numbers:
        age_months, male, image_seed = render_arguments(seed, number)
        phantom = render(age_months, male, image_seed, height_px)
        save_png(phantom, folder / f"{number}.png")
        height, width = phantom.image.shape
        random = Stream(seed, number, "label")
        rows.append(
            {
                "id": number,
                "boneage": simulate_label(age_months, male, heaping, reader_noise_months, random),
                "age_months": f"{age_months:.2f}",
                "male": male,
                "kind": phantom.kind,
                "right_hand": phantom.right_hand,
                "height_px": height,
                "width_px": width,
            }
        )
    return rows


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
