"""Question 3 in pictures: the plane that UMAP finds, and what its groups agree with."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from h2a_lib.figures.density import MANY, SHARE_OF_BOYS, between, hexagons
from h2a_lib.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SEX_COLOURS

TAKEN = "how it was taken, at most"
# Red and blue are the sexes' colours: groups take others.
GROUP_COLOURS = (GREEN, PURPLE)


def plane(
    embedding: np.ndarray,
    value: np.ndarray,
    axes: Axes,
    cmap: Colormap,
    clim: tuple[float, float] = (0, 1),
) -> Axes:
    """Draw hands in UMAP's plane, whose axes and distances have no unit; many as hexagons.

    Parameters
    ----------
    embedding : ndarray, (n, 2)
    value : ndarray, (n,)
        What the colour says of a hand, or, as a mean, of the hands of a hexagon.
    axes : Axes
    cmap : Colormap
    clim : (float, float)
        Values at its ends.
    """
    if len(embedding) >= MANY:
        hexagons(*embedding.T, value, axes, columns=18, cmap=cmap, clim=clim)
    else:
        # In an order drawn once: else one colour would lie on top of the others.
        order = np.random.default_rng(0).permutation(len(embedding))
        size = float(np.clip(4000 / len(embedding), 3, 45))
        axes.scatter(
            *embedding[order].T, c=value[order], s=size, lw=0, alpha=0.8, cmap=cmap, clim=clim
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.margins(0.03)
    return axes


def by_sex_age_group(
    embeddings: Sequence[np.ndarray],
    hands: pd.DataFrame,
    groups: np.ndarray,
    axes: Sequence[Axes],
) -> Sequence[Axes]:
    """Draw one plane coloured by sex, by age and by group, and the plane of another seed by sex.

    Parameters
    ----------
    embeddings : sequence of ndarray, (n, 2)
        One for each seed; the first is drawn three times, the last once.
    hands : DataFrame
        n rows: `age_months`, `male`.
    groups : ndarray, (n,)
        0 or 1.
    axes : sequence of four Axes
    """
    first, male = embeddings[0], hands["male"].to_numpy(float)
    plane(first, male, axes[0], SHARE_OF_BOYS).set_title("by sex")
    age_years = hands["age_months"].to_numpy() / 12
    # A colour for each year: matplotlib makes pixels of a key with more of them.
    plane(first, age_years, axes[1], plt.get_cmap("viridis", 19), (0, 19)).set_title("by age")
    plane(first, groups, axes[2], between(*GROUP_COLOURS)).set_title("by K-means group")
    plane(embeddings[-1], male, axes[3], SHARE_OF_BOYS).set_title("by sex, another seed")
    for ax in (axes[0], axes[3]):
        _key(ax, SEX_COLOURS)
    _key(axes[2], {f"group {g + 1}": colour for g, colour in enumerate(GROUP_COLOURS)})
    below = axes[1].inset_axes((0.1, -0.09, 0.8, 0.04))
    bar = axes[1].figure.colorbar(axes[1].collections[0], below, orientation="horizontal")
    bar.set_label("years", fontsize=12, labelpad=0)
    bar.outline.set_visible(False)
    return axes


def _key(axes: Axes, colours: dict[str, str]) -> None:
    handles = [plt.Line2D([], [], marker="o", ls="", color=c, label=n) for n, c in colours.items()]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, columnspacing=0.8,
        handletextpad=0.1,
    )  # fmt: skip


def agreement(table: pd.DataFrame, baseline_ari: float, axes: Axes) -> Axes:
    """Draw the agreement of groups with sex, by source, beside chance and one age threshold.

    Parameters
    ----------
    table : DataFrame
        From `analysis.clusters.judge`.
    baseline_ari : float
        Of one age threshold with sex.
    axes : Axes
    """
    names = list(dict.fromkeys(table["source"]))
    seen = set(table.loc[table["has_seen_sex"], "source"])
    truths = {"sex": ("o", BLUE, 10), "age band": ("s", ORANGE, 8), TAKEN: ("^", GREEN, 8)}
    nuisances = table[~table["truth"].isin(["sex", "age band"])]
    most = nuisances.loc[nuisances.groupby(["source", "space"], sort=False)["ari"].idxmax()]
    shown = pd.concat([table[table["truth"].isin(truths)], most.assign(truth=TAKEN)])
    # The plane below the features it was made from, hollow.
    spaces = {"features": (-0.17, True), "UMAP": (0.17, False)}
    for row in shown.itertuples():
        marker, colour, size = truths[row.truth]
        offset, filled = spaces[row.space]
        y = names.index(row.source) + offset
        if row.truth == "sex" and not np.isnan(row.null_best_95):
            axes.plot([0, row.null_best_95], [y, y], color=GREY, lw=7, alpha=0.5,
                      solid_capstyle="butt")  # fmt: skip
        face = colour if filled else "white"
        axes.plot(row.ari, y, marker, color=colour, mfc=face, ms=size, mew=2, clip_on=False)
    axes.axvline(0, color=BLACK, lw=1)
    axes.axvline(baseline_ari, color=BLACK, lw=1.4, ls="--")
    labels = [name + (" *" if name in seen else "") for name in names]
    axes.set_yticks(range(len(names)), labels, fontsize=12)
    axes.set_ylim(len(names) - 0.5, -0.5)
    # To 1 only where something comes near it: else all that matters would lie at the left edge.
    axes.set_xlim(
        min(-0.03, shown["ari"].min() - 0.02), float(np.clip(1.3 * shown["ari"].max(), 0.3, 1))
    )
    axes.set_xlabel("Adjusted Rand index")
    handles = [
        plt.Line2D([], [], marker=marker, ls="", color=colour, ms=size, label=f"with {name}")
        for name, (marker, colour, size) in truths.items()
    ]
    handles += [
        plt.Line2D([], [], color=GREY, lw=7, alpha=0.5, label="best by chance, to 95 %"),
        plt.Line2D([], [], color=BLACK, ls="--", lw=1.4, label="one age threshold"),
        plt.Line2D([], [], marker="o", ls="", color=BLACK, mfc="white", label="hollow: on UMAP"),
    ]
    if seen:
        handles.append(plt.Line2D([], [], ls="", label="* has seen sex"))
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), handletextpad=0.4)
    axes.grid(axis="y", visible=False)
    return axes
