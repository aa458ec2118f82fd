"""Saliency maps laid over the hands."""

from operator import itemgetter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from h2a_lib.analysis.saliency.maps import MOST_SIMILAR, STAGES, passes, sanity_sentence
from h2a_lib.analysis.saliency.summary import SaliencyStudy
from h2a_lib.figures.colours import BLACK, FAINT, ON_DARK, ORANGE, SKY
from h2a_lib.figures.style import TALL, radiographs, run_label, write_beside
from h2a_lib.figures.training import spread
from h2a_lib.study.results import Drawing

# Between words beside the sanity check, in units of correlation.
LINE_HEIGHT = 0.12
# As on the axis, from the output downwards.
STAGE_NAMES = {"head": "output", "conv1": "stem"} | {f"layer{i}": f"block {i}" for i in range(1, 5)}


def overlay(image: np.ndarray, saliency: np.ndarray, axes: Axes) -> Axes:
    """Lay a map over a picture, the more opaque the larger it is.

    image: (s, s), grey, 0 to 255. saliency: (s, s), not negative.
    """
    brightest = max(1, float(np.max(image)))
    axes.imshow(image, cmap="gray", vmin=0, vmax=brightest, interpolation="bilinear")
    top = float(saliency.max())
    strength = saliency / top if top > 0 else np.zeros_like(saliency)
    axes.imshow(strength, cmap="inferno", alpha=0.75 * strength, vmin=0, vmax=1)
    axes.set_axis_off()
    return axes


def sanity(table: pd.DataFrame, axes: Axes) -> None:
    """Draw how similar the maps stay as weights are made random, from the answer downwards."""
    by_stage = table.set_index("stage")
    stages = table[table["stage"].isin(STAGES)]
    x = np.arange(len(stages))
    axes.vlines(x, stages["similarity_low"], stages["similarity_high"], color=SKY)
    axes.plot(x, stages["similarity"], "o-", color=SKY, ms=8)
    levels = [("passes if it\nends below", MOST_SIMILAR, ORANGE, "-")]
    for name, word in (("other seeds", "another seed"), ("other hands", "another hand")):
        if name in by_stage.index:
            levels.append((word, by_stage.loc[name, "similarity"], FAINT, "--"))
    levels.sort(key=itemgetter(1))
    heights = spread([level for _, level, *_ in levels], LINE_HEIGHT)
    for (word, level, colour, style), at in zip(levels, heights, strict=True):
        axes.axhline(level, color=colour, ls=style, lw=1.5)
        place = {"xycoords": ("axes fraction", "data"), "va": "center", "color": colour}
        write_beside(axes, word, (1, at), (5, 0), **place)
    axes.set_title("" if passes(table) else "Sanity check FAILED", loc="left")
    axes.axhline(0, color=BLACK, lw=1)
    names = [STAGE_NAMES[stage] for stage in stages["stage"]]
    axes.set_xticks(x, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set(
        ylabel="Correlation with own map",
        xlabel="Randomised: this layer\nand all nearer the output",
    )
    axes.set_ylim(min(-0.1, axes.get_ylim()[0]), 1.05)


def saliency(study: SaliencyStudy, run_name: str) -> Drawing:
    """Draw averages by band and the sanity check, as saliency_age or saliency_sex."""
    figure = plt.figure(figsize=TALL)
    left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
    maps = {"Grad-CAM": study.averages, "occlusion": study.occluded_averages}
    rows = left.subplots(2, len(study.averages))
    for panels, averages in zip(rows, maps.values(), strict=True):
        for axes, (band, n, image, mean_map) in zip(panels, averages, strict=True):
            axes.set_axis_off()
            if averages is study.averages:
                axes.set_title(f"{band}\nn = {n:,}", fontsize=13)
            if n:
                overlay(image, mean_map, axes)
    for axes, name in zip(rows[:, 0], maps, strict=True):
        axes.annotate(name, (-0.06, 0.5), xycoords="axes fraction", ha="right", va="center",
                      rotation=90)  # fmt: skip
    bar = left.colorbar(
        ScalarMappable(cmap="inferno"), ax=rows, ticks=[], aspect=22, shrink=0.75, pad=0.01
    )
    bar.set_label("Saliency, low to high", color=ON_DARK)
    # After the bar, which centres the pictures: the rows stand close to each other.
    for panels, anchor in zip(rows, "SN", strict=True):
        for axes in panels:
            axes.set_anchor(anchor)
    sanity(study.table, right.subplots())
    sentence = f"{study.regions_sentence()} {sanity_sentence(study.table)}"
    return radiographs(
        figure,
        f"saliency_{study.answer}",
        alt="Registered hands, averaged by age band, with maps of where the network looks for "
        f"{study.answer}; beside them the sanity check. {sentence}",
        caption=f"Left: where the network looks for {study.answer}, averages of registered hands; "
        "right: sanity check, rank correlation; "
        f"{run_label(run_name)}, n = {study.n:,} (sanity check: {study.table['n'].max():,})",
        finding=sentence,
        averaged_over=min(n for _, n, *_ in study.averages if n),
    )
