"""The numbers of question 3, as the deck prints them."""

from collections.abc import Sequence

import pandas as pd

from h2a_lib.analysis import clusters
from h2a_lib.analysis.agreement import Agreement
from h2a_lib.analysis.statistics import number


def most_by(table: pd.DataFrame) -> pd.DataFrame:
    """Return, for each description and space, what its groups agree with most."""
    best = table.loc[table.groupby(["source", "space"], sort=False)["ari"].idxmax()]
    columns = ["source", "space", "truth", "ari", "null_ari_95", "nmi", "accuracy", "majority"]
    return best[columns].reset_index(drop=True)


def variables(
    table: pd.DataFrame,
    stable: pd.DataFrame,
    grouped: Sequence[clusters.Grouped],
    baseline: Agreement,
) -> dict[str, str | int]:
    """Return ready-to-print values.

    Parameters
    ----------
    table, stable : DataFrame
        Of all descriptions, one below the other; see `clusters.Grouped`.
    grouped : sequence of Grouped
    baseline : Agreement
        Of one age threshold with sex.
    """
    blind = table[~table["has_seen_sex"]]
    by_sex = blind[blind["truth"] == "sex"]
    best = by_sex.loc[by_sex["ari"].idxmax()]
    seen = table[table["has_seen_sex"] & (table["truth"] == "sex")]
    ks = ", ".join(f"{one.source.name} {one.best_k}" for one in grouped if one.best_k > 1)
    return {
        "answer": clusters.answer(table, baseline),
        "n": int(best["n"]),
        "best": f"{best['source']}, {best['space']}",
        "best_ari": number(best["ari"], 3),
        "best_nmi": number(best["nmi"], 3),
        "best_accuracy": f"{best['accuracy'] * 100:.1f} %",
        "best_null_ari": number(best["null_ari_95"], 3),
        "best_null_accuracy": f"{best['null_accuracy_95'] * 100:.1f} %",
        "baseline_ari": number(baseline.ari, 3),
        "baseline_accuracy": f"{baseline.accuracy * 100:.1f} %",
        "upper_bound": f"ARI {number(seen['ari'].max(), 3)} when trained for sex (has seen it)"
        if len(seen)
        else "no network was trained for sex",
        "band_sentence": clusters.band_sentence(table),
        "k_by_silhouette": ks or "too few hands for a silhouette",
        "stability": stability_sentence(stable),
    }


def stability_sentence(stable: pd.DataFrame) -> str:
    """Say how alike groupings are over seeds and neighbourhoods: mean and least ARI."""
    said = [
        f"{what} {number(rows['ari_mean'].mean(), 2)} (least {number(rows['ari_least'].min(), 2)})"
        for what, rows in stable.groupby("what", sort=False)
    ]
    return f"ARI between groupings of the same hands: {'; '.join(said)}"
