"""Summaries of the image measurements, and which hands to show."""

import numpy as np
import pandas as pd

from h2a_lib.analysis.statistics.bootstrap import number, share_interval
from h2a_lib.data import measure
from h2a_lib.data.labels import id_order


def extremes(measured: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return the darkest, brightest, flattest, smallest and largest image.

    Each as its kind ("darkest"), its id, and the value by which it stands out, formatted.
    """
    grey, contrast = measured["mean_grey"], measured["contrast_grey"]
    pixels = measured["width_px"] * measured["height_px"]
    kinds = (
        ("darkest", grey.idxmin(), "mean grey {mean_grey:.0f}"),
        ("brightest", grey.idxmax(), "mean grey {mean_grey:.0f}"),
        ("flattest", contrast.idxmin(), "range {contrast_grey:.0f}"),
        ("smallest", pixels.idxmin(), "{width_px:,} × {height_px:,} px"),
        ("largest", pixels.idxmax(), "{width_px:,} × {height_px:,} px"),
    )
    rows = ((kind, measured.loc[at], text) for kind, at, text in kinds)
    return [(kind, row["id"], text.format(**row)) for kind, row, text in rows]


def extremes_verdict(measured: pd.DataFrame) -> str:
    """State how far apart the extremes are, in the few words of a title."""
    darkest, brightest = measured["mean_grey"].min(), measured["mean_grey"].max()
    pixels = measured["width_px"] * measured["height_px"]
    if darkest < 1:
        grey = f"from black to a mean grey of {brightest:.0f}"
    else:
        grey = _fold(brightest / darkest, "mean grey differs {}-fold", "all are equally bright")
    size = _fold(pixels.max() / pixels.min(), "number of pixels {}-fold", "all are of one size")
    return f"{grey}, {size}"


def _fold(ratio: float, text: str, text_if_equal: str) -> str:
    times = number(ratio, 0 if ratio >= 10 else 1)
    return text_if_equal if times == "1.0" else text.format(times)


def first_by_id_hash(labels: pd.DataFrame, n: int, split: str = "train") -> pd.DataFrame:
    """Return n hands of a split, in the random but fixed order of the ids' hashes."""
    rows = labels[labels["split"] == split]
    return rows.iloc[id_order(rows["id"]).argsort()[:n]]


def spread_by_exposure(measured: pd.DataFrame, n: int = 6) -> list[str]:
    """Return n ids (fewer if there are fewer) from the darkest to the brightest, evenly spread."""
    ordered = measured.sort_values(["mean_grey", "id"])["id"]
    places = np.linspace(0.04, 0.96, min(n, len(ordered))) * (len(ordered) - 1)
    return [ordered.iloc[round(place)] for place in places]


def variables(measured: pd.DataFrame) -> dict[str, str]:
    """Format what the report says about the images."""
    width, height = measured["width_px"], measured["height_px"]
    aspect = height / width
    sizes = len(measured[["width_px", "height_px"]].drop_duplicates())
    bright = share_interval(measure.has_bright_background(measured))
    return {
        "n": f"{len(measured):,}",
        "sizes": f"{sizes:,}",
        "sizes_in_words": f"{sizes:,} sizes among {len(measured):,}"
        if sizes > 1
        else f"all {len(measured):,} of one size",
        "width_range": f"{_range(width)} px",
        "height_range": f"{_range(height)} px",
        "median_size": f"{width.median():,.0f} × {height.median():,.0f} px",
        "aspect_range": f"{number(aspect.min(), 2)}–{number(aspect.max(), 2)}",
        "mean_grey_range": _range(measured["mean_grey"]),
        "contrast_range": _range(measured["contrast_grey"]),
        "extremes_verdict": extremes_verdict(measured),
        "bright_share": bright.text("%", 0, 100),
        "bright_verdict": f"{100 * bright.value:.0f} % of the images have a bright background",
        "bright_rule": measure.BRIGHT_RULE,
        "border_share": share_interval(measure.has_border(measured)).text("%", 0, 100),
        "marker_share": share_interval(measured["marker"]).text("%", 0, 100),
    }


def sizes_sentence(measured: pd.DataFrame) -> str:
    """State how much the images differ in size and shape."""
    text = variables(measured)
    if text["sizes"] == "1":
        return (
            f"All {text['n']} images are {text['median_size']}, so nothing depends on their size."
        )
    return (
        f"The {text['n']} images have {text['sizes']} different sizes; height over width "
        f"ranges from {text['aspect_range'].replace('–', ' to ')}. A square input crops, pads or "
        "distorts most of them."
    )


def exposure_sentence(measured: pd.DataFrame) -> str:
    """State how much the images differ in exposure and contrast."""
    text = variables(measured)
    return (
        f"Mean grey is {text['mean_grey_range']} and contrast {text['contrast_range']}, on a scale "
        f"of 0 to 255 (n = {text['n']}). These differences are not signs of age, so a network "
        "should ignore them."
    )


def geometry_sentence(measured: pd.DataFrame) -> str:
    """State what the three geometries cost."""
    text = geometry_variables(measured)
    return (
        f"The centre crop cuts off a median of {text['crop_hand_cut']} of hand and forearm (99th "
        f"percentile {text['crop_hand_cut_99']}); {text['crop_hands_losing_5_percent']} lose more "
        f"than 5 %. Squashing stretches by a median factor of {text['squash_stretch']}."
    )


def _range(values: pd.Series) -> str:
    """Write the range of values in whole numbers, one number where all have one."""
    return "–".join(dict.fromkeys(f"{end:,.0f}" for end in (values.min(), values.max())))


def geometry_variables(measured: pd.DataFrame) -> dict[str, str]:
    """Format what each geometry cuts off or distorts."""
    width, height = measured["width_px"], measured["height_px"]
    longer, shorter = np.maximum(width, height), np.minimum(width, height)
    cut = 1 - shorter / longer
    hand_cut = measured["hand_cut"]
    return {
        "crop_cut": f"{100 * cut.median():.0f} % (up to {100 * cut.max():.0f} %)",
        "crop_hand_cut": f"{100 * hand_cut.median():.1f} %",
        # Of a few images the outline of the hand is wrong, so the largest share says nothing.
        "crop_hand_cut_99": f"{100 * hand_cut.quantile(0.99):.0f} %",
        "crop_hands_losing_5_percent": share_interval(hand_cut > 0.05).text("%", 0, 100),
        "squash_stretch": f"{number((longer / shorter).median(), 2)}",
    }
