"""What a study leaves behind for its report: figures, tables and numbers as plain files."""

import contextlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2a_lib.files import (
    read_json,
    remove,
    sha256,
    write_atomically,
    write_csv,
    write_json,
    write_yaml,
)
from h2a_lib.study.tables import Table

if TYPE_CHECKING:  # half a second to import, which the command line need not wait for
    import pandas as pd
    from matplotlib.figure import Figure

NAME = re.compile(r"[a-z][a-z0-9_]*")
# Maker of what no notebook wrote.
NO_NOTEBOOK = "h2a report"
# A slide is shown at 1920 pixels across; a figure as wide as the slide is 11 inches.
RASTER_DPI = 180
# Shown at half its pixels: sharp on a dense screen.
SCREEN_DPI = 144
# Around a figure, in inches.
MARGIN = 0.03
# An average of as many registered hands identifies no child: it may be published.
LEAST_AVERAGED = 30


@dataclass(frozen=True)
class Drawing:
    """A figure with what stands beside it; made by the functions of `h2a_lib.figures`.

    The name is that of its files: lower-case letters, digits and underscores. `alt`, at least a
    sentence, is what someone who cannot see the figure should know; the caption is one line, with
    n; `finding`, a sentence, is what the figure shows in this study. `is_raster` makes a PNG in
    place of an SVG: for radiographs, each of which is the average of at least `averaged_over`
    registered hands.
    """

    figure: "Figure"
    name: str
    alt: str
    caption: str
    finding: str = ""
    is_raster: bool = False
    averaged_over: int = 1

    def __post_init__(self) -> None:
        """Refuse a figure that cannot be told apart, or not be understood without seeing it."""
        _check_name(self.name)
        if len(self.alt.split()) < 4 or not self.caption.strip():
            raise ValueError(f"figure {self.name}: alt text (a sentence) and a caption are needed")


@dataclass(frozen=True)
class Results:
    """The results folder of one study, with `figures/`, `tables/` and `variables/`.

    `root` is the project's folder, relative to which inputs are named; `tier_label`, what the data
    are in words, is written on every figure; `notebook` is who writes: "05_train".
    """

    folder: Path
    root: Path
    tier_label: str
    notebook: str = ""

    def display(self, drawing: Drawing) -> None:
        """Display a figure without saving it, with the tier of the data in its corner."""
        self._write_tier(drawing)
        display_drawing(drawing)

    def save(self, drawing: Drawing, inputs: Iterable[Path]) -> Path:
        """Save a figure and, beside it, what it shows and what it was made from; return its file.

        `inputs` are the files whose content it shows. Their hashes are kept, so that a figure older
        than its run is found when the deck is rendered.
        """
        import matplotlib.pyplot as plt

        figure, name = drawing.figure, drawing.name
        suffix = "png" if drawing.is_raster else "svg"
        path = self.folder / "figures" / f"{name}.{suffix}"
        above_tier = self._write_tier(drawing)
        # First: a picture never lies beside the description of an earlier one.
        remove(path.with_suffix(".json"))
        # The salt, and no date: the same data give the same bytes.
        with write_atomically(path) as temporary, plt.rc_context({"svg.hashsalt": name}):
            figure.savefig(
                temporary,
                dpi=RASTER_DPI,
                bbox_inches="tight",
                pad_inches=MARGIN,
                facecolor="auto",
                metadata={"Date": None} if suffix == "svg" else {"Software": None},
            )
        write_json(
            path.with_suffix(".json"),
            {
                "name": name,
                "file": path.name,
                "alt": drawing.alt,
                "caption": drawing.caption,
                "made_by": self.notebook,
                "tier": self.tier_label,
                "above_tier": above_tier,
                "averaged_over": drawing.averaged_over,
                "inputs": {self._relative(file): sha256(file) for file in inputs},
            },
        )
        return path

    def _write_tier(self, drawing: Drawing) -> float:
        """Write below a figure what its data are; return the share of the height above that."""
        figure = drawing.figure
        figure.draw_without_rendering()
        drawn, size = figure.get_tightbbox(), figure.get_size_inches()
        # Light enough for the dark ground of radiographs, dark enough for white.
        grey = "0.7" if drawing.is_raster else "0.4"
        corner = drawn.x1 / size[0], (drawn.y0 - 2 * MARGIN) / size[1]
        # A "$" in a folder's name is a letter, not the start of a formula.
        style: dict[str, Any] = {"fontsize": 12, "color": grey, "parse_math": False}
        figure.text(*corner, self.tier_label, ha="right", va="top", **style)
        both = figure.get_tightbbox()
        return round((drawn.height + MARGIN) / (both.height + 2 * MARGIN), 4)

    def remove_figures(self) -> None:
        """Remove the figures that this notebook drew before: it may draw fewer this time."""
        for figure, description in self.figures_of(self.notebook):
            remove(figure)
            remove(description)

    def figures_of(self, notebook: str) -> list[tuple[Path, Path]]:
        """Return each figure that a notebook drew, with its description."""
        drawn = []
        for description in sorted(self.folder.glob("figures/[!.]*.json")):
            # Another notebook may remove its own at this moment.
            with contextlib.suppress(FileNotFoundError):
                content = read_json(description)
                if content["made_by"] == notebook:
                    drawn.append((description.with_name(content["file"]), description))
        return drawn

    def table(self, frame: "pd.DataFrame", name: str, shown: "pd.DataFrame | None" = None) -> Table:
        """Save a table as CSV and return it, or the part to be shown, as a notebook displays it."""
        _check_name(name)
        write_csv(self.folder / "tables" / f"{name}.csv", frame)
        self._record_maker(f"{name}.csv")
        return Table(frame if shown is None else shown)

    def variables(self, group: str, values: Mapping[str, str | int]) -> Table:
        """Save a group of ready-to-print values; slides show them as `{{< var group.key >}}`.

        A name that is not plain is a ValueError, as is a value that is empty or a bare float: it
        would be printed with an arbitrary number of digits.
        """
        for name, value in values.items():
            _check_name(name)
            if isinstance(value, bool | float) or str(value).strip() == "":
                raise ValueError(f"variable {group}.{name}: format {value!r} as text first")
        _check_name(group)
        import pandas as pd

        texts = {key: str(value) for key, value in values.items()}
        write_yaml(self.folder / "variables" / f"{group}.yml", texts)
        self._record_maker(f"{group}.yml")
        return Table(pd.DataFrame({"variable": list(texts), "value": list(texts.values())}))

    def makers(self) -> dict[str, str]:
        """Return the notebook that wrote each table and group of variables, by file name."""
        files = sorted((self.folder / "made_by").glob("[!.]*.json"))
        return {name: file.stem for file in files for name in read_json(file)}

    def _record_maker(self, file_name: str) -> None:
        # A file a notebook: several run at the same time.
        record = self.folder / "made_by" / f"{self.notebook or NO_NOTEBOOK}.json"
        names = set(read_json(record)) if record.exists() else set()
        write_json(record, sorted(names | {file_name}))

    def _relative(self, file: Path) -> str:
        file = file.resolve()
        return str(file.relative_to(self.root) if file.is_relative_to(self.root) else file)


def display_drawing(drawing: Drawing) -> None:
    """Display a figure with its caption and its finding, and close it."""
    import matplotlib.pyplot as plt
    from IPython.display import Image, Markdown, display

    content = io.BytesIO()
    # White under dark words, also where JupyterLab's theme is dark.
    ground = "auto" if drawing.is_raster else "white"
    drawing.figure.savefig(
        content, format="png", dpi=SCREEN_DPI, bbox_inches="tight", facecolor=ground
    )
    plt.close(drawing.figure)
    png = content.getvalue()
    width = int.from_bytes(png[16:20], "big")
    image = Image(png, format="png", width=width // 2, alt=drawing.alt)
    # The report links a figure to the cell that has it.
    display(image, metadata={"h2a": {"figure": drawing.name}})
    display(Markdown("\n\n".join(filter(None, [f"*{drawing.caption}.*", drawing.finding]))))


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: use lower-case letters, digits and underscores")
