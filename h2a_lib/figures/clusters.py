"""Question 3 in pictures: the plane that UMAP finds, and what its groups agree with."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from h2a_lib.analysis.bands import SEXES, sex_of
from h2a_lib.figures.style import BLACK, BLUE, GREEN, GREY, MANY, ORANGE, PALETTE, SEX_COLOURS

TAKEN = "how it was taken, at most"
# Red and blue are the sexes' colours: groups take others.
GROUP_COLOURS = (PALETTE[2], PALETTE[4], PALETTE[3], PALETTE[5], PALETTE[6])


def plane(
    embedding: np.ndarray, colours: Sequence | np.ndarray, axes: Axes, **more: object
) -> Axes:
    """Draw hands in UMAP's plane, whose axes and distances have no unit.

    Parameters
    ----------
    embedding : ndarray, (n, 2)
    colours : sequence, (n,)
        Colours, or numbers for a colour map given as `cmap`.
    axes : Axes
    **more
        For `Axes.scatter`.
    """
    n = len(embedding)
    size = float(np.clip(4000 / n, 3, 45))
    # In an order drawn once: else one colour would lie on top of the others.
    order = np.random.default_rng(0).permutation(n)
    points = axes.scatter(
        *embedding[order].T,
        c=np.asarray(colours)[order],
        s=size,
        lw=0,
        alpha=0.8,
        rasterized=n >= MANY,
        **more,
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    if "cmap" in more:
        bar = axes.figure.colorbar(points, ax=axes, location="bottom", aspect=30, pad=0.03)
        bar.set_label("years", fontsize=12, labelpad=0)
        bar.outline.set_visible(False)
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
        One for each seed; the first is drawn three times, the second once.
    hands : DataFrame
        n rows: `age_months`, `male`.
    groups : ndarray, (n,)
    axes : sequence of four Axes
    """
    by_sex = [SEX_COLOURS[sex] for sex in sex_of(hands["male"])]
    plane(embeddings[0], by_sex, axes[0]).set_title("by sex")
    _key(axes[0], {name: SEX_COLOURS[name] for name in SEXES})
    age_years = hands["age_months"].to_numpy() / 12
    plane(embeddings[0], age_years, axes[1], cmap="viridis", vmin=0, vmax=19).set_title("by age")
    colours = [GROUP_COLOURS[g % len(GROUP_COLOURS)] for g in groups]
    plane(embeddings[0], colours, axes[2]).set_title("by K-means group")
    names = {f"group {g + 1}": GROUP_COLOURS[g % len(GROUP_COLOURS)] for g in np.unique(groups)}
    _key(axes[2], names)
    plane(embeddings[-1], by_sex, axes[3]).set_title("by sex, another seed")
    _key(axes[3], {name: SEX_COLOURS[name] for name in SEXES})
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
