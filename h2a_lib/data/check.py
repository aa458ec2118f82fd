"""Is a data set sound, and is it the published one? The answer for people and for machines."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from h2a_lib.data import layout, sources
from h2a_lib.data.labels import AS_HEADED, TableFormat
from h2a_lib.errors import Problem, in_order

# Counts and moments of the official label tables (months). Train: Halabi et al. 2019, Radiology
# 290:498-503; moments and sexes computed from the published files.
PUBLISHED: dict[str, dict[str, float]] = {
    "train": {
        "n": 12_611,
        "male": 6_833,
        "female": 5_778,
        "age_mean": 127.32,
        "age_sd": 41.18,
        "age_median": 132.0,
        "age_min": 1.0,
        "age_max": 228.0,
    },
    "validation": {"n": 1_425, "male": 773, "female": 652},
    "test": {"n": 200, "male": 100, "female": 100, "age_min": 11.21, "age_max": 219.06},
}

FEW_HANDS = 100  # fewer than 20 to report on

_SHOWN = {
    "n": "hands",
    "male": "male",
    "female": "female",
    "age_mean": "bone age, mean (months)",
    "age_sd": "SD",
    "age_median": "median",
    "age_min": "least",
    "age_max": "most",
    "width_px": "width, median (pixels)",
    "height_px": "height, median (pixels)",
}


@dataclass(frozen=True)
class Check:
    """What `h2a data check` found.

    `problems` are the inspection's and those of the pixels: duplicates, blank images, images
    without greys; `warnings` are no faults. `counts` has a row for each set: set, n, male, female,
    age_mean, age_sd, age_median, age_min, age_max, width_px, height_px (medians), as_published
    ("yes", or what differs).
    """

    inspection: sources.Inspection
    problems: list[Problem]
    warnings: list[str]
    counts: pd.DataFrame

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def counts_table(self) -> pd.DataFrame:
        """Return the counts as people read them: what, then each set beside what was published."""
        columns: dict[str, list[str]] = {"": list(_SHOWN.values())}
        for row in self.counts.to_dict("records"):
            published = PUBLISHED[row["set"]]
            columns[row["set"]] = [_say(row[key]) for key in _SHOWN]
            columns[f"{row['set']}, published"] = [_say(published.get(key)) for key in _SHOWN]
        return pd.DataFrame(columns)

    def problem_table(self) -> pd.DataFrame:
        """Return all problems: file, row (empty for a whole file), what."""
        table = pd.DataFrame(self.problems, columns=["file", "row", "what"])
        return table.astype({"row": "Int64"})

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        counts = self.counts.astype(object).where(self.counts.notna(), None)
        return {
            "folder": str(self.inspection.folder),
            "sound": self.is_sound,
            "tier": self.inspection.tier,
            "fingerprint": self.inspection.fingerprint,
            "sets": counts.to_dict("records"),
            "problems": [asdict(problem) for problem in self.problems],
            "warnings": self.warnings,
            "notes": self.inspection.notes,
        }


def check(folder: Path, form: TableFormat = AS_HEADED, progress: bool = True) -> Check:
    """Check every label row and every image of a folder, or a label table alone."""
    if folder.is_file():
        inspection = sources.inspect_table(folder, form)
    else:
        inspection = sources.inspect(folder, form=form, progress=progress)
    sound = inspection.files[inspection.files["problem"] == ""]
    problems = [*inspection.problems, *_same_pixels(sound), *_without_greys(sound)]
    if folder.is_dir() and inspection.is_sound and (few := sources.too_few(inspection.labels)):
        problems.append(Problem(folder.resolve().name, None, f"too few hands for a report: {few}"))
    return Check(
        inspection,
        in_order(problems),
        [*inspection.warnings, *_depths(sound), *_unanswerable(inspection.labels)],
        _counts(inspection.labels),
    )


def _same_pixels(sound: pd.DataFrame) -> list[Problem]:
    """Find images with the very pixels of another: one child twice, perhaps with two labels."""
    # Blank images are alike, and reported as blank.
    files = sound[sound["darkest"] != sound["brightest"]]
    first = files.drop_duplicates("pixels").set_index("pixels")["path"]
    return [
        Problem(file.path, None, f"the same pixels as {first[file.pixels]}")
        for file in files[files.duplicated("pixels")].itertuples()
    ]


def _without_greys(sound: pd.DataFrame) -> list[Problem]:
    blank = sound[sound["darkest"] == sound["brightest"]]
    problems = [
        Problem(
            file.path,
            None,
            "all black" if file.brightest == 0 else f"blank: every pixel is {file.brightest:.0f}",
        )
        for file in blank.itertuples()
    ]
    shallow = sound[sound["bits"] < 8]
    problems += [
        Problem(file.path, None, f"{file.bits:.0f} bit a sample: no radiograph's greys")
        for file in shallow.itertuples()
    ]
    return problems


def _depths(sound: pd.DataFrame) -> list[str]:
    bits = sound["bits"].astype("Int64").astype(str)
    kinds = (sound["format"] + " of " + bits + " bits").value_counts()
    if len(kinds) < 2:
        return []
    mixed = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
    return [f"files of several kinds: {mixed}; more than 8 bits are scaled down by the bits in use"]


def _unanswerable(labels: pd.DataFrame) -> list[str]:
    """Say which questions these hands cannot answer; n, sexes and ages are of the labelled ones."""
    known = labels[labels["age_months"].notna()]
    warnings = []
    if len(known) < FEW_HANDS:
        warnings.append(
            f"few hands ({len(known)}): a network learns little from them, and intervals are wide"
        )
    if len(known) > 1 and len(set(known["male"])) == 1:
        sex = "male" if known["male"].iloc[0] else "female"
        warnings.append(f"all hands are {sex}: whether sex shows cannot be answered")
    if len(known) > 1 and len(set(known["age_months"])) == 1:
        age = known["age_months"].iloc[0]
        warnings.append(f"all hands are {age:g} months old: nothing can be learned about age")
    return warnings


def _counts(labels: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for name in (one for one in layout.SETS if (labels["set"] == one).any()):
        own = labels[labels["set"] == name]
        age = own["age_months"]
        row = {
            "set": name,
            "n": len(own),
            "male": int(own["male"].sum()),
            "female": int((~own["male"]).sum()),
            "age_mean": round(float(age.mean()), 2),
            "age_sd": round(float(age.std()), 2) if len(own) > 1 else None,
            "age_median": float(age.median()),
            "age_min": float(age.min()),
            "age_max": float(age.max()),
            "width_px": float(own["width_px"].median()),
            "height_px": float(own["height_px"].median()),
        }
        rows.append(row | {"as_published": _compare(row)})
    return pd.DataFrame(rows)


def _compare(row: dict[str, Any]) -> str:
    differs = [
        f"{name} {_say(row[name]) or 'not known'} instead of {_say(value)}"
        for name, value in PUBLISHED[row["set"]].items()
        if row[name] != value
    ]
    return "; ".join(differs) or "yes"


def _say(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value:,.10g}"
