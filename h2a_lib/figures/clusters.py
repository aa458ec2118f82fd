"""Question 3 in figures: the UMAP plane, hands of each group, and what groups agree with."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from h2a_lib.analysis.bands import NAMES, band_of
from h2a_lib.analysis.clusters import summary
from h2a_lib.analysis.clusters.groups import NO_LABEL, Clustering
from h2a_lib.analysis.saliency.registration import registered
from h2a_lib.analysis.statistics.agreement import Agreement
from h2a_lib.analysis.statistics.bootstrap import capitalised, number
from h2a_lib.figures.colours import BLACK, BLUE, BRIGHT, DARK, GREEN, GREY, ORANGE, PURPLE, SEX_KEY
from h2a_lib.figures.density import MANY, between, hexagons, key
from h2a_lib.figures.style import WIDE, colour_key, radiographs
from h2a_lib.study.results import LEAST_AVERAGED, Drawing

NUISANCE = "acquisition\n(highest of several)"
HANDS_PER_GROUP = 8
# Red and blue are the sexes' colours: groups take others.
GROUP_COLOURS = (GREEN, PURPLE)
# The two classes of a property; of a number, those below and above its median.
CLASSES = {"detector type": ("digital", "film"), "background brightness": ("dark", "bright")}


def plane(
    embedding: np.ndarray,
    value: np.ndarray,
    axes: Axes,
    cmap: Colormap,
    clim: tuple[float, float] = (0, 1),
) -> Axes:
    """Draw hands in UMAP's plane, whose axes and distances have no unit; many as hexagons.

    embedding: (n, 2). value: (n,), what the colour says of a hand, or, as a mean, of the hands of a
    hexagon; `clim` are the values at the ends of the colours.
    """
    if len(embedding) >= MANY:
        hexagons(*embedding.T, value, axes, columns=18, cmap=cmap, clim=clim)
    else:
        # In an order drawn once: else one colour would lie on top of the others.
        order = np.random.default_rng(0).permutation(len(embedding))
        size = float(np.clip(4000 / len(embedding), 3, 45))
        x, y = embedding[order].T
        axes.scatter(x, y, size, value[order], lw=0, alpha=0.8, cmap=cmap, clim=clim)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.margins(0.03)
    return axes


def label_free(clusterings: Sequence[Clustering]) -> Clustering:
    """Return the clustering that is shown: of the last representation that saw no label."""
    return [c for c in clusterings if c.representation.is_label_free][-1]


def _too_few(n: int) -> tuple[Figure, str]:
    figure, axes = plt.subplots(figsize=WIDE)
    sentence = f"{summary.TOO_FEW} (n = {n})."
    axes.text(0.5, 0.5, sentence, ha="center", transform=axes.transAxes)
    axes.set_axis_off()
    return figure, sentence


def shown_groups(
    clustering: Clustering, nuisances: Mapping[str, ArrayLike], table: pd.DataFrame
) -> tuple[str, str]:
    """Return the space whose groups are drawn, "features" or "UMAP", and the nuisance beside them.

    Of `selection.nuisances` the one that clusters agree with most, by `groups.compare`'s table, and
    the space in which they do; without such a one the last, and the features.
    """
    rows = summary.label_free(table)
    rival = summary.strongest_rival(rows[rows["truth"].isin([*nuisances])])
    if rival is None:
        return "features", list(nuisances)[-1]
    is_of_these = rival["source"] == clustering.representation.name
    return rival["space"] if is_of_these else "features", rival["truth"]


def _groups_of(clustering: Clustering, space: str) -> str:
    on = "the UMAP plane" if space == "UMAP" else "the features"
    return f"representation: {clustering.representation.name}; K-means on {on}"


def umap(
    clustering: Clustering,
    space: str,
    nuisance: str,
    hands: pd.DataFrame,
    nuisances: Mapping[str, ArrayLike],
) -> Drawing:
    """Draw one plane coloured by group, by how the radiograph was acquired, by sex and by age.

    `space` and `nuisance` are those of `shown_groups`.
    """
    caption = (
        f"UMAP plane ({_groups_of(clustering, space)}), n = {len(hands):,}{key(len(hands))}"
        f"{'; colour: mean' if key(len(hands)) else ''}"
    )
    if not clustering.embeddings:
        figure, sentence = _too_few(len(hands))
        return Drawing(figure, "clusters_umap", sentence, caption, sentence)
    figure, axes = plt.subplots(1, 4, figsize=WIDE)
    first, male = clustering.embeddings[0], hands["male"].to_numpy(float)
    values = np.asarray(nuisances[nuisance])
    if values.dtype != bool:
        values = values > np.median(values)
    named = {
        "By K-means group": (
            clustering.groups[space, 2],
            {f"group {g + 1}": colour for g, colour in enumerate(GROUP_COLOURS)},
        ),
        f"By {nuisance}": (
            values.astype(float),
            dict(zip(CLASSES.get(nuisance, ("low", "high")), (DARK, BRIGHT), strict=True)),
        ),
        "By sex": (male, SEX_KEY),
    }
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": 2}
    for ax, (title, (share, words)) in zip(axes, named.items(), strict=False):
        plane(first, share, ax, between(*words.values())).set_title(title)
        colour_key(ax, words, **below)
    age_years = hands["age_months"].to_numpy() / 12
    # A colour for each year: matplotlib makes pixels of a key with more of them.
    plane(first, age_years, axes[3], plt.get_cmap("viridis", 19), (0, 19)).set_title("By bone age")
    bar = figure.colorbar(
        axes[3].collections[0],
        axes[3].inset_axes((0.1, -0.06, 0.8, 0.04)),
        orientation="horizontal",
    )
    bar.set_ticks([0, 5, 10, 15])
    bar.set_label("Years", labelpad=0)
    bar.outline.set_visible(False)
    ari = clustering.table.query("space == @space").set_index("truth")["ari"]
    finding = (
        f"Two groups ({_groups_of(clustering, space)}) have an ARI of {number(ari['sex'], 3)} with "
        f"sex; five have {number(ari['age band'], 3)} with age band (1: identical, 0: chance)."
    )
    return Drawing(
        figure,
        "clusters_umap",
        alt=f"UMAP plane of the validation hands, coloured by group, {nuisance}, sex and age. "
        f"{finding}",
        caption=caption,
        finding=finding,
    )


def cluster_hands(
    clustering: Clustering, space: str, hands: pd.DataFrame, images: np.ndarray
) -> Drawing:
    """Draw some hands of each of two K-means groups, chosen at random.

    images: (n, s, s), uint8, in the order of the hands. `space` is that of `shown_groups`.
    """
    caption = (
        f"Hands of two groups ({_groups_of(clustering, space)}), chosen at random "
        f"from n = {len(hands):,}"
    )
    if not clustering.groups:
        figure, sentence = _too_few(len(hands))
        return radiographs(figure, "cluster_hands", alt=sentence, caption=caption, finding=sentence)
    groups = clustering.groups[space, 2]
    figure, axes = plt.subplots(2, HANDS_PER_GROUP, figsize=(10.8, 3.6))
    rng, parts = np.random.default_rng(0), []
    for group, row in enumerate(axes):
        members = np.flatnonzero(groups == group)
        for ax in row:
            ax.set_axis_off()
        for ax, i in zip(row, rng.permutation(members), strict=False):
            ax.imshow(images[i], cmap="gray", vmin=0, vmax=255)
            age, male = hands["age_months"].iloc[i], hands["male"].iloc[i]
            ax.set_title(f"{age / 12:.1f} y, {'m' if male else 'f'}", fontsize=13, pad=3)
        if len(members):
            of_group = hands.iloc[members]
            share, median = of_group["male"].mean(), of_group["age_months"].median() / 12
            sentence = f"{share * 100:.0f} % male, median {median:.1f} years, n = {len(members):,}"
            parts.append(f"group {group + 1}: {sentence}")
        row[0].text(-0.08, 0.5, f"group {group + 1}", rotation=90, va="center", ha="right",
                    transform=row[0].transAxes)  # fmt: skip
    finding = f"{capitalised('; '.join(parts))}."
    return radiographs(
        figure,
        "cluster_hands",
        alt=f"Up to eight radiographs from each of two K-means groups. {finding}",
        caption=caption,
        finding=finding,
    )


def mean_hands(
    clustering: Clustering, space: str, hands: pd.DataFrame, images: np.ndarray, tier: str
) -> Drawing:
    """Draw the average registered hand of each age band and sex, and of two K-means groups.

    images: (n, s, s), uint8, in the order of the hands. `space` is that of `shown_groups`. Fewer
    than `LEAST_AVERAGED` hands are not averaged, unless they are phantoms by their tier.
    """
    least = 1 if tier == "phantom" else LEAST_AVERAGED
    groups = clustering.groups[space, 2] if clustering.groups else np.full(len(hands), -1)
    band, male = band_of(hands["age_months"]), hands["male"].to_numpy(bool)
    places = {(int(sex), i): (male == sex) & (band == i)
              for sex in (False, True) for i in range(len(NAMES))}  # fmt: skip
    places |= {(group, -1): groups == group for group in (0, 1)}
    pictures = registered(images)
    figure, axes = plt.subplots(
        2, len(NAMES) + 2, figsize=(10.8, 4.3), width_ratios=[*[1] * len(NAMES), 0.25, 1]
    )
    for ax in axes[:, len(NAMES)]:
        ax.set_axis_off()
    for place, members in places.items():
        n = int(members.sum())
        axes[place].set(xticks=[], yticks=[], aspect="equal")
        axes[place].spines[:].set_visible(False)
        axes[place].set_xlabel(f"n = {n:,}", fontsize=13, labelpad=3)
        if n >= least:
            axes[place].imshow(pictures[members].mean(axis=0), cmap="gray")
        else:
            axes[place].text(
                0.5, 0.5, f"fewer\nthan {least}", ha="center", transform=axes[place].transAxes
            )
    for ax, name in zip(axes[0], NAMES, strict=False):
        ax.set_title(name)
    axes[0, -1].set_title("K-means")
    for column, names in ((0, ("Girls", "Boys")), (-1, ("Group 1", "Group 2"))):
        for ax, name in zip(axes[:, column], names, strict=True):
            ax.set_ylabel(name, fontsize=14)
    return radiographs(
        figure,
        "mean_hands",
        alt="Average registered hand of each age band, girls above boys, and of two groups that "
        "K-means finds.",
        caption="Average registered hands by age and sex, and of two groups "
        f"({_groups_of(clustering, space)}), n = {len(hands):,}",
        averaged_over=least,
    )


def agreement(table: pd.DataFrame, baseline: Agreement | None, n: int) -> Drawing:
    """Draw the agreement of groups with sex, age and nuisances, by representation.

    The table is from `groups.compare`; the baseline is the agreement of one age threshold with sex,
    None where the n hands are too few.
    """
    caption = (
        f"Agreement with sex, age and acquisition, n = {n:,}; filled: K-means on the features, "
        "hollow: on the UMAP plane"
    )
    answer = summary.answer(table, baseline)
    if baseline is None:
        figure, sentence = _too_few(n)
        return Drawing(figure, "clusters_agreement", sentence, caption, sentence)
    figure, axes = plt.subplots(figsize=WIDE)
    names = list(dict.fromkeys(table["source"]))
    trained_on = table.groupby("source")["trained_on"].first()
    # One below the other, so that none hides another at zero.
    markers = {
        "sex": ("o", BLUE, -0.3),
        "age band": ("s", ORANGE, 0),
        NUISANCE: ("^", GREEN, 0.3),
    }
    nuisances = table[~table["truth"].isin(["sex", "age band"])]
    most = nuisances.loc[nuisances.groupby(["source", "space"], sort=False)["ari"].idxmax()]
    shown = pd.concat([table[table["truth"].isin(markers)], most.assign(truth=NUISANCE)])
    by_chance = {"marker": "|", "color": PURPLE, "ms": 13, "mew": 3, "ls": ""}
    for row in shown.itertuples():
        marker, colour, offset = markers[row.truth]
        y = names.index(row.source) + offset
        if row.truth == "sex" and not np.isnan(row.null_best_95):
            axes.plot(row.null_best_95, y, zorder=3, **by_chance)
        face = colour if row.space == "features" else "none"
        axes.plot(row.ari, y, marker, color=colour, mfc=face, ms=7, mew=1.8, clip_on=False)
    axes.axvline(0, color=BLACK, lw=1)
    axes.axvline(baseline.ari, color=BLACK, lw=1.4, ls="--")
    bounds = [i for i, name in enumerate(names) if trained_on[name] != NO_LABEL]
    if bounds:
        axes.axhline(min(bounds) - 0.5, color=GREY, lw=1)
        # Right of all dots, above and below the line.
        place = {"ha": "right", "va": "center", "transform": axes.get_yaxis_transform()}
        axes.text(1, min(bounds) - 0.5, "no labels\nwith labels", **place)
    labels = [
        name if trained_on[name] == NO_LABEL else f"{name}\n(for comparison)" for name in names
    ]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.5, -0.5)
    # To 1 only where something comes near it: else all that matters would lie at the left edge.
    end = float(np.clip(1.3 * shown["ari"].max(), 0.3, 1))
    axes.set_xlim(min(-0.03, shown["ari"].min() - 0.02), end)
    axes.set_xlabel("Adjusted Rand index")
    handles = [
        plt.Line2D([], [], marker=marker, ls="", color=colour, ms=7, label=f"with {name}")
        for name, (marker, colour, _) in markers.items()
    ]
    by_sex = table[table["truth"] == "sex"]
    most = f"at most {by_sex['null_best_95'].max():.3f}"
    handles += [
        plt.Line2D([], [], label=f"with sex, by chance\n(95 %): {most}", **by_chance),
        plt.Line2D([], [], color=BLACK, ls="--", lw=1.4, label="one age threshold"),
    ]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), handletextpad=0.4)
    axes.grid(axis="y", visible=False)
    return Drawing(
        figure,
        "clusters_agreement",
        alt="Agreement of groups with sex, age band and how the radiograph was acquired, for each "
        f"representation, beside chance and one age threshold. {answer}",
        caption=caption,
        finding=answer,
    )
