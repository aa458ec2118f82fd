"""What a study leaves behind for its report: figures, tables and numbers as plain files."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from h2a_lib.files import (
    read_json,
    remove,
    sha256,
    write_atomically,
    write_csv,
    write_json,
    write_yaml,
)

if TYPE_CHECKING:  # half a second to import, which the command line need not wait for
    import pandas as pd
    from matplotlib.figure import Figure

NAME = re.compile(r"[a-z][a-z0-9_]*")
# A slide is shown at 1920 pixels across; a figure as wide as the slide is 11 inches.
RASTER_DPI = 180


@dataclass(frozen=True)
class Results:
    """The results folder of one study.

    Attributes
    ----------
    folder : Path
        Holds `figures/`, `tables/` and `variables/`.
    root : Path
        The project's folder; inputs are named relative to it.
    tier_label : str
        What the data are, in words; written on every figure.
    """

    folder: Path
    root: Path
    tier_label: str

    def figure(
        self,
        figure: "Figure",
        name: str,
        *,
        alt: str,
        caption: str,
        made_by: str,
        inputs: Iterable[Path],
        raster: bool = False,
    ) -> Path:
        """Save a figure and, beside it, what it shows and what it was made from.

        Parameters
        ----------
        figure : Figure
            What to save. The tier of the data is written in its corner.
        name : str
            Lower-case letters, digits and underscores.
        alt : str
            What someone who cannot see the figure should know; at least a sentence.
        caption : str
            One line, with n.
        made_by : str
            The notebook, for example "05_train".
        inputs : iterable of Path
            The files whose content the figure shows. Their hashes are kept, so that a figure
            older than its run is found when the deck is rendered.
        raster : bool
            PNG instead of SVG: for radiographs.

        Returns
        -------
        Path
            The picture's file.

        Raises
        ------
        ValueError
            If the name is not plain, or alt text or caption is missing.
        """
        import matplotlib.pyplot as plt

        from h2a_lib.figures.style import FAINT, on_dark_ground

        _check_name(name)
        if len(alt.split()) < 4 or not caption.strip():
            raise ValueError(f"figure {name}: alt text (a sentence) and a caption are needed")
        suffix = "png" if raster else "svg"
        path = self.folder / "figures" / f"{name}.{suffix}"
        figure.text(1, 0, self.tier_label, ha="right", va="top", fontsize=10, color=FAINT)
        if raster:
            on_dark_ground(figure)
        # First: a picture never lies beside the description of an earlier one.
        remove(path.with_suffix(".json"))
        # The salt, and no date: the same data give the same bytes.
        with write_atomically(path) as temporary, plt.rc_context({"svg.hashsalt": name}):
            figure.savefig(
                temporary,
                dpi=RASTER_DPI,
                bbox_inches="tight",
                facecolor="auto",
                metadata={"Date": None} if suffix == "svg" else {"Software": None},
            )
        plt.close(figure)
        write_json(
            path.with_suffix(".json"),
            {
                "name": name,
                "file": path.name,
                "alt": alt,
                "caption": caption,
                "made_by": made_by,
                "tier": self.tier_label,
                "inputs": {self._relative(file): sha256(file) for file in inputs},
            },
        )
        return path

    def forget(self, made_by: str) -> None:
        """Remove the figures that a notebook drew before: it may draw fewer this time."""
        for description in self.folder.glob("figures/*.json"):
            told = read_json(description)
            if told["made_by"] == made_by:
                remove(description.with_name(told["file"]))
                remove(description)

    def table(self, frame: "pd.DataFrame", name: str) -> Path:
        """Save a table as CSV and return its file."""
        _check_name(name)
        path = self.folder / "tables" / f"{name}.csv"
        write_csv(path, frame)
        return path

    def variables(self, group: str, values: Mapping[str, str | int]) -> Path:
        """Save a group of ready-to-print values; slides show them as `{{< var group.key >}}`.

        Raises
        ------
        ValueError
            If a name is not plain, or a value is a bare float (it would be printed with an
            arbitrary number of digits) or empty.
        """
        for name, value in values.items():
            _check_name(name)
            if isinstance(value, bool | float) or str(value).strip() == "":
                raise ValueError(f"variable {group}.{name}: format {value!r} as text first")
        _check_name(group)
        path = self.folder / "variables" / f"{group}.yml"
        write_yaml(path, {key: str(value) for key, value in values.items()})
        return path

    def _relative(self, file: Path) -> str:
        file = file.resolve()
        return str(file.relative_to(self.root) if file.is_relative_to(self.root) else file)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: use lower-case letters, digits and underscores")
