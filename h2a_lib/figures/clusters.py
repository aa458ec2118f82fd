"""Question 3 in pictures: the plane that UMAP finds, and what its groups agree with."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from h2a_lib.analysis.bands import SEXES, sex_of
from h2a_lib.analysis.statistics import number
from h2a_lib.figures.style import BLACK, BLUE, GREY, ORANGE, PALETTE, SEX_COLOURS

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
        *embedding[order].T, c=np.asarray(colours)[order], s=size, lw=0, alpha=0.8, **more
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    if "cmap" in more:
        bar = axes.figure.colorbar(points, ax=axes, location="bottom", aspect=25, pad=0.02)
        bar.set_label("Bone age (years)", fontsize=12)
        bar.outline.set_visible(False)
    return axes


def by_sex_age_group(
    embedding: np.ndarray, hands: pd.DataFrame, groups: np.ndarray, axes: Sequence[Axes]
) -> Sequence[Axes]:
    """Draw one plane three times: coloured by sex, by age, by group.

    Parameters
    ----------
    embedding : ndarray, (n, 2)
    hands : DataFrame
        n rows: `age_months`, `male`.
    groups : ndarray, (n,)
    axes : sequence of three Axes
    """
    sex = sex_of(hands["male"])
    plane(embedding, [SEX_COLOURS[s] for s in sex], axes[0]).set_title("by sex")
    _key(axes[0], {name: SEX_COLOURS[name] for name in SEXES})
    age_years = hands["age_months"].to_numpy() / 12
    plane(embedding, age_years, axes[1], cmap="viridis", vmin=0, vmax=19).set_title("by age")
    colours = [GROUP_COLOURS[g % len(GROUP_COLOURS)] for g in groups]
    plane(embedding, colours, axes[2]).set_title("by K-means group")
    names = {f"group {g + 1}": GROUP_COLOURS[g % len(GROUP_COLOURS)] for g in np.unique(groups)}
    _key(axes[2], names)
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
        From `analysis.clusters.group`, of several sources.
    baseline_ari : float
        Of one age threshold with sex.
    axes : Axes
    """
    rows = table[table["truth"] == "sex"].reset_index(drop=True)
    by_age = table[table["truth"] == "age band"].reset_index(drop=True)
    names = []
    for y, (row, age) in enumerate(zip(rows.itertuples(), by_age.itertuples(), strict=True)):
        seen = row.has_seen_sex
        axes.plot(age.ari, y, "s", color=ORANGE, ms=9, mfc="none", mew=2)
        axes.plot([0, row.null_ari_95], [y, y], color=GREY, lw=7, alpha=0.5, solid_capstyle="butt")
        axes.plot(row.ari, y, "o", color=BLUE, ms=11, mfc="none" if seen else BLUE, mew=2)
        names.append(f"{row.source}, {row.space}" + (" *" if seen else ""))
    axes.axvline(0, color=BLACK, lw=1)
    axes.axvline(baseline_ari, color=BLACK, lw=1.4, ls="--")
    axes.set_yticks(range(len(names)), names, fontsize=12)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-0.06, 1.02)
    axes.set_xlabel("Agreement (adjusted Rand index)")
    handles = [
        plt.Line2D([], [], marker="o", ls="", color=BLUE, ms=10, label="with sex"),
        plt.Line2D([], [], marker="s", ls="", color=ORANGE, mfc="none", mew=2, ms=8,
                   label="with age band"),
        plt.Line2D([], [], color=GREY, lw=7, alpha=0.5, label="chance, up to 95 %"),
        plt.Line2D([], [], color=BLACK, ls="--", lw=1.4,
                   label=f"one age threshold ({number(baseline_ari, 3)})"),
    ]  # fmt: skip
    if rows["has_seen_sex"].any():
        label = "* has seen sex"
        handles.append(plt.Line2D([], [], marker="o", ls="", color=BLUE, mfc="none", mew=2,
                                  ms=10, label=label))  # fmt: skip
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.3, -0.16), ncols=2,
        columnspacing=1, handletextpad=0.4,
    )  # fmt: skip
    axes.grid(axis="y", visible=False)
    return axes
