"""From the results of one study to the files the deck reads."""

import importlib.util
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from h2a_lib.analysis.statistics.bootstrap import powers_of_ten
from h2a_lib.errors import UserError
from h2a_lib.files import (
    read_csv,
    read_json,
    read_yaml,
    write_atomically,
    write_folder_atomically,
    write_json,
    write_yaml,
)
from h2a_lib.report.pdf_figures import write_for_pdf
from h2a_lib.study.workspace import TIER_LABELS

# Published results hold this file: what was withheld, and of what study they are.
MARK = "published.json"
KEPT_TOGETHER = re.compile(
    r"± (?=\d)|n = (?=\d)|\d+ % CI|\d (?=%|months|million|px)|\d to (?=\N{MINUS SIGN}?\d)"
)
APOSTROPHE = re.compile(r"(?<=[A-Za-z])'(?=[a-z])")
NO_BREAK, MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"
SIGN = re.compile(r"([!-/:-@\[-`{-~])")
PICTURES = (".svg", ".png")
UNITS = ("months", "years", "seconds", "pixels", "px")
ACRONYMS = ("MAE", "RMSE", "AUC", "SD", "ARI", "AMI", "NMI", "FLOPs")
# Names of columns and cells that a reader of tables could not guess.
PRINTED_AS = {
    "few": "n < 30",
    "label": "experiment",
    "experiment": "name in study.yaml",
    "tried": "other values tried",
    "experiments": "experiments that change it",
    "not_tried": "available, not tried",
    "difference_months": "difference from the default (months)",
    "null_best_95": "by chance up to",
    "source": "representation",
    "GFLOPs_at_224px": "GFLOPs at 224 px",
    "n_male": "boys",
    "gain": "AUC of the image less this",
    "null_ari_95": "ARI by chance, 95 %",
    "mae": "MAE (months)",
    "rmse": "RMSE (months)",
    "median": "median absolute error (months)",
    "bias": "bias (months)",
    "r2": "R²",
    "within_6": "share within 6 months",
    "within_12": "share within 12 months",
    "within_24": "share within 24 months",
    "beyond_12": "share beyond 12 months",
}
CAPITALS = {name.lower(): name for name in ACRONYMS}
# Below this mean brightness (0-255) the border of a picture is a dark ground.
DARK = 96
# Pictures that show what is done to any radiograph; those of a network's answers have no stand-in.
ILLUSTRATIONS = ("raw_grid", "geometry", "pixel_normalisation", "contrast")
PHANTOM_STUDIES = ("demo", "smoke")
IN_PLACE = "Synthetic hands in place of radiographs that may not be published"
# The picture that opens the talk, drawn when it is first needed.
OPENING, OPENING_FILE = "opening", "opening.png"
OPENING_HAND = {"age_months": 126, "male": False, "seed": 9, "height_px": 1000}
# Font files by the look they give; the CSS takes the .woff, Typst the .ttf.
FONTS = (
    "source-sans-pro-regular",
    "source-sans-pro-italic",
    "source-sans-pro-semibold",
    "source-sans-pro-semibolditalic",
)


@dataclass(frozen=True)
class Staged:
    """What a study offers to its deck; written to `_staged.json` for the Lua filters."""

    tier_label: str
    # group -> key -> text
    variables: dict[str, dict[str, str]]
    # name -> file, alt, caption, made_by, tier, ground, pdf_file and pdf_ground (the same for the
    # PDF), inputs (list of path and sha256)
    figures: dict[str, dict[str, Any]]
    # name -> names, header, rows (as text), numeric (one bool a column)
    tables: dict[str, dict[str, Any]]
    # Results without their data: what figures were drawn from may be gone.
    published: bool
    # figure -> address of the cell that drew it, relative to the deck
    pages: dict[str, str]

    def texts(self) -> Iterator[str]:
        """Yield what the study itself has written: values of variables, and cells of tables."""
        for group in self.variables.values():
            yield from group.values()
        for table in self.tables.values():
            yield from chain.from_iterable(table["rows"])


def stage(
    results: Path, project: Path, stand_ins: bool = True, pages: dict[str, str] | None = None
) -> Staged:
    """Copy what the deck shows into the project, and describe it in `_staged.json`.

    Results that were published without their radiographs (`published.json`) take the pictures of
    `ILLUSTRATIONS` from a study on phantoms beside them, and say so under each, unless there are to
    be no `stand_ins`. `pages` says where each figure is drawn, on the pages of the notebooks. A
    UserError if there are no results, or a figure lacks its description.
    """
    variables = {
        file.stem: {key: _in_print(str(value)) for key, value in read_yaml(file).items()}
        for file in sorted(results.glob("variables/[!.]*.yml"))
    }
    if "tier_label" not in variables.get("study", {}):
        raise UserError(f"{results} holds no results: variables/study.yml has no tier_label")
    figures = (_stand_ins(results) if stand_ins else {}) | _figures(results) | _opening(project)
    staged = Staged(
        tier_label=variables["study"]["tier_label"],
        variables=variables,
        figures=figures,
        published=is_published(results),
        tables={file.stem: _table(file) for file in sorted(results.glob("tables/[!.]*.csv"))},
        pages=pages or {},
    )
    with write_folder_atomically(project / "figures") as folder:
        for figure in staged.figures.values():
            source = Path(figure.pop("from"))
            staged_file = _without_tier(source, folder, figure.get("above_tier", 1.0))
            for_pdf = write_for_pdf(staged_file, folder)
            # A JPEG's ground may be one level off its PNG's.
            figure |= {"pdf_file": for_pdf.name, "pdf_ground": _ground(for_pdf)}
    _stage_fonts(project / "fonts")
    write_yaml(project / "_variables.yml", {g: _escaped(v) for g, v in variables.items()})
    write_json(project / "_staged.json", asdict(staged))
    return staged


def _escaped(values: dict[str, str]) -> dict[str, str]:
    """Escape every sign: Quarto reads a variable as Markdown, and ours are plain text."""
    return {key: SIGN.sub(r"\\\1", value) for key, value in values.items()}


def _in_print(text: str) -> str:
    """Set a text: "n = 96" and "−1.4 to 2.2" on one line, and so on; 4.8e-04 as 4.8 × 10⁻⁴."""
    text = text.replace("Grad-CAM", "Grad\N{NON-BREAKING HYPHEN}CAM")
    text = APOSTROPHE.sub("’", powers_of_ten(text))
    return KEPT_TOGETHER.sub(lambda match: match[0].replace(" ", NO_BREAK), text)


def reveal_folder() -> Path:
    """Where the wheel sphinx-revealjs keeps reveal.js."""
    spec = importlib.util.find_spec("sphinx_revealjs")
    if spec is None or spec.origin is None:
        raise UserError("the package sphinx-revealjs, which brings reveal.js, is not installed")
    return Path(spec.origin).parent / "_static" / "revealjs"


def is_published(results: Path) -> bool:
    """Whether results were published without their radiographs, as `h2a publish` leaves them."""
    return (results / MARK).is_file()


def _figures(results: Path) -> dict[str, dict[str, Any]]:
    figures = {}
    for file in sorted((results / "figures").glob("[!.]*")):
        if file.suffix not in PICTURES:
            continue
        sidecar = file.with_suffix(".json")
        if not sidecar.is_file():
            raise UserError(f"{file} has no description beside it ({sidecar.name})")
        data = read_json(sidecar)
        data |= {"caption": _in_print(data["caption"]), "alt": _in_print(data["alt"])}
        data["from"] = str(file)
        data["ground"] = _ground(file)
        data["inputs"] = [
            {"path": _published_path(path, results), "sha256": h}
            for path, h in data["inputs"].items()
        ]
        figures[data["name"]] = data
    return figures


def _published_path(path: str, results: Path) -> str:
    """Find the record of a run where it is published, beside the results."""
    if is_published(results) and path.startswith(f"runs/{results.name}/"):
        return f"results/{results.name}/{path.replace(f'{results.name}/', '', 1)}"
    return path


def _stand_ins(results: Path) -> dict[str, dict[str, Any]]:
    """Take the pictures that may not be published from a study on phantoms, where there is one."""
    if not is_published(results):
        return {}
    for name in PHANTOM_STUDIES:
        stand_ins = _figures(results.parent / name)
        if stand_ins:
            return {
                name: figure | {"caption": f"{IN_PLACE}: {figure['caption']}"}
                for name, figure in stand_ins.items()
                if name in ILLUSTRATIONS
            }
    return {}


def _opening(project: Path) -> dict[str, dict[str, Any]]:
    """Draw the large radiograph that opens the talk: a phantom, whatever the study's data are."""
    file = project / OPENING_FILE
    if not file.is_file():
        from h2a_lib.phantoms.render import render

        image = render(**OPENING_HAND).image  # type: ignore[arg-type]
        with write_atomically(file) as temporary:
            Image.fromarray(image).save(temporary, format="PNG")
    figure = {
        "name": OPENING,
        "file": file.name,
        "alt": "A synthetic radiograph of a left hand with all its bones, drawn for a girl of "
        f"{OPENING_HAND['age_months'] / 12:g} years.",
        "caption": "A synthetic radiograph (phantom), not a patient",
        "made_by": "",
        "tier": TIER_LABELS["phantom"],
        "inputs": [],
        "from": str(file),
        "ground": _ground(file),
    }
    return {OPENING: figure}


def _without_tier(source: Path, folder: Path, share: float) -> Path:
    """Copy a figure without its lowest part, which says what the data are: each page says so."""
    target = folder / source.name
    if source.suffix == ".svg":
        heights = re.compile(r'(\bheight="|\bviewBox="(?:\S+ ){3})([\d.]+)')
        head, body = re.split(r"(?<=<svg )", source.read_text("utf-8"), maxsplit=1)
        cut = heights.sub(lambda match: f"{match[1]}{share * float(match[2]):.4f}", body, count=2)
        target.write_text(head + cut, "utf-8")
        return target
    with Image.open(source) as image:
        image.crop((0, 0, image.width, round(share * image.height))).save(target)
    return target


def _ground(file: Path) -> str:
    """Find the colour a radiograph was drawn on, "#rrggbb"; "light" for all else.

    A slide takes the ground of its pictures, so that they have no visible edge.
    """
    if file.suffix == ".svg":
        return "light"
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGBA"))  # (h, w, 4), uint8
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0)
    if colour[3] < 255 or colour[:3].mean() >= DARK:
        return "light"
    return "#" + "".join(f"{round(channel):02x}" for channel in colour[:3])


def _table(file: Path) -> dict[str, Any]:
    """Write a table as text; a value, its _low and its _high make one column."""
    frame = read_csv(file)
    names, header, columns = [], [], []
    for name in frame.columns:
        value, _, end = name.rpartition("_")
        if end in ("low", "high") and {f"{value}_low", f"{value}_high"} <= set(frame.columns):
            continue
        ends = [f"{name}_low", f"{name}_high"]
        ends = ends if set(ends) <= set(frame.columns) else []
        column = [_with_interval(*cells) for cells in _cells(frame[[name, *ends]])]
        if name == "measure":
            column = [PRINTED_AS.get(at, at) for at in column]
        names.append(name)
        header.append(_heading(name) + (_in_print(", 95 % CI") if ends else ""))
        columns.append(column)
    return {
        "name": file.stem,
        "names": names,
        "header": header,
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "numeric": [pd.api.types.is_numeric_dtype(frame[name]) for name in names],
    }


def _with_interval(value: str, low: str = "", high: str = "") -> str:
    """Write "6.00 (5.50–6.50)", on one line; "to" where a dash could be taken for a sign."""
    if not low:
        return value
    between = " to " if MINUS in low + high else "–"
    return f"{value} ({low}{between}{high})".replace(" ", NO_BREAK)


def _heading(name: str) -> str:
    """Write a column's name as a heading: "train_mae_months" -> "train MAE (months)"."""
    if name in PRINTED_AS:
        return PRINTED_AS[name]
    words = name.split("_")
    units = [word for word in words[1:] if word in UNITS]
    printed = [CAPITALS.get(word, word) for word in words if word not in units]
    return " ".join([*printed, *(f"({unit})" for unit in units)])


def _cells(values: pd.DataFrame) -> list[tuple[str, ...]]:
    """Write columns that belong together as text, row by row; no text for what is missing.

    Floats have the same decimals throughout: none from 100 upwards, else as many as they need up
    to two, or three below 1; four where values are small and no interval says how sure they are.
    """
    numbers = values.select_dtypes("number")
    has_interval = len(values.columns) == 3
    finite = numbers.abs().to_numpy(dtype=float)
    finite = finite[np.isfinite(finite)]
    largest = finite.max(initial=0.0)
    if (finite % 1 == 0).all() or largest >= 100:
        pattern = "{:,.0f}"
    elif (np.abs(finite * 10 - np.round(finite * 10)) < 1e-6).all():
        pattern = "{:.1f}"
    elif largest >= 1:
        pattern = "{:.2f}"
    else:
        in_ten_thousandths = (np.abs(finite * 1e4 - np.round(finite * 1e4)) < 1e-6).all()
        pattern = "{:.4f}" if in_ten_thousandths else "{:.3g}"
        if has_interval or finite.min(initial=1) >= 0.01:
            pattern = "{:.3f}"

    def text(value: Any) -> str:
        if pd.isna(value):
            return ""
        if isinstance(value, bool):
            return "yes" if value else ""
        return str(value) if numbers.empty else pattern.format(value).replace("-", MINUS)

    return [tuple(text(value) for value in row) for row in values.itertuples(index=False)]


def _stage_fonts(folder: Path) -> None:
    """Put the fonts where both the CSS and Typst find them.

    Source Sans Pro comes with reveal.js; DejaVu, for signs it lacks and for code, with matplotlib.
    """
    import matplotlib

    source = reveal_folder() / "dist" / "theme" / "fonts" / "source-sans-pro"
    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = [source / f"{name}.{suffix}" for name in FONTS for suffix in ("woff", "ttf")]
    files += [dejavu / "DejaVuSans.ttf", dejavu / "DejaVuSansMono.ttf"]
    if all((folder / file.name).is_file() for file in files):
        return
    with write_folder_atomically(folder) as temporary:
        for file in files:
            shutil.copyfile(file, temporary / file.name)
