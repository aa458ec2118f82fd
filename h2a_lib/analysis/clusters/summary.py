"""The numbers of question 3, as the deck prints them."""

from collections.abc import Sequence

import pandas as pd

from h2a_lib.analysis.age import literature
from h2a_lib.analysis.bands import NAMES
from h2a_lib.analysis.clusters import groups as clusters
from h2a_lib.analysis.statistics.agreement import Agreement
from h2a_lib.analysis.statistics.bootstrap import number

LEVEL = 0.05
# Of a grouping that may be called one by sex: hands on the side of their sex, best match.
MOSTLY = 0.75


def answer(table: pd.DataFrame, baseline: Agreement) -> str:
    """Answer question 3 from the numbers, whichever way they fall.

    Parameters
    ----------
    table : DataFrame
        From `clusters.judge`.
    baseline : Agreement
        Of one age threshold with sex.

    Returns
    -------
    str
        Judged by the groupings that have not seen sex, each as the best of their number.
    """
    blind = table[~table["has_seen_sex"]]
    by_sex = blind[blind["truth"] == "sex"]
    best = _best(by_sex)
    if best["majority"] == 1:
        return f"Groups by sex cannot be judged: the {best['n']:,} hands are of one sex."
    found = _found(best)
    if not by_sex["p_best"].min() < LEVEL:
        verdict = f"No: no grouping agrees with sex more than chance does; {found}"
    elif not by_sex["p_beyond_age"].min() < LEVEL:
        verdict = (
            f"Not beyond age: {found} is more than chance, but no more than the label of age "
            f"explains (p = {best['p_beyond_age']:.2f} among hands of one half-year); one age "
            f"threshold reaches {number(baseline.ari, 3)}"
        )
    else:
        best = _best(by_sex[by_sex["p_beyond_age"] < LEVEL])
        beside = f"one age threshold reaches {number(baseline.ari, 3)}"
        if best["accuracy"] >= MOSTLY and best["ari"] > baseline.ari:
            verdict = f"Yes: {_found(best)}, more than the label of age explains; {beside}"
        else:
            verdict = (
                f"Weakly: {_found(best)}, more than chance and than the label of age explains, but "
                f"{best['accuracy'] * 100:.0f} % of the hands fall on the side of their sex; "
                f"{beside}"
            )
    rival = strongest_rival(blind)
    if rival is not None and rival["ari"] > best["ari"]:
        verdict += f". The hands group by {rival['truth']} first (ARI {number(rival['ari'], 3)})"
    return verdict + "."


def _best(rows: pd.DataFrame) -> pd.Series:
    return rows.loc[rows["ari"].idxmax()]


def _found(row: pd.Series) -> str:
    where = f"{row['source']}, {row['space']}"
    return f"ARI {number(row['ari'], 3)} with sex at best ({where}; n = {row['n']:,})"


def groups_verdict(table: pd.DataFrame) -> str:
    """Say by what the hands group most that were not told sex, in a title's few words."""
    blind = table[~table["has_seen_sex"]]
    found = blind[blind["p_best"] < LEVEL]
    return f"by {_best(found)['truth']} first" if len(found) else "by nothing that is known of them"


def strongest_rival(blind: pd.DataFrame) -> pd.Series | None:
    """Return the row of what the hands group by most, other than sex; None if by nothing."""
    others = blind[(blind["truth"] != "sex") & (blind["p_best"] < LEVEL)]
    return _best(others) if len(others) else None


def band_sentence(table: pd.DataFrame, tier: str) -> str:
    """Say the best-match accuracy on 48-month bands; on RSNA hands beside the published one."""
    rows = table[(table["truth"] == "age band") & ~table["has_seen_sex"]]
    best = rows.loc[rows["accuracy"].idxmax()]
    ours = (
        f"{best['accuracy'] * 100:.1f} % of n = {best['n']:,} hands on bands of 48 months "
        f"({best['source']}, {best['space']}; largest of {best['k']} of {len(NAMES)} bands "
        f"{best['majority'] * 100:.0f} %)"
    )
    if tier != "rsna":
        return ours
    return (
        f"{ours}; published (Zhu et al. 2022): {literature.BAND_ACCURACY * 100:.2f} % "
        f"(largest {literature.BAND_MAJORITY * 100:.0f} %)"
    )


def nuisance_sentence(table: pd.DataFrame) -> str:
    """Say how far hands group by how the picture was taken: the best ARI with each nuisance."""
    rows = table[~table["has_seen_sex"] & ~table["truth"].isin(["sex", "age band"])]
    if rows.empty:
        return "No nuisance differs between the pictures."
    said = []
    for name, own in rows.groupby("truth", sort=False):
        best = _best(own)
        by_chance = "" if best["p_best"] < LEVEL else ", as by chance"
        said.append(f"{name} {number(best['ari'], 3)} ({best['source']}{by_chance})")
    return f"Highest ARI with how the picture was taken: {'; '.join(said)}."


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
    tier: str,
) -> dict[str, str | int]:
    """Return ready-to-print values.

    Parameters
    ----------
    table, stable : DataFrame
        From `clusters.judge`; and of all descriptions, one below the other.
    grouped : sequence of Grouped
    baseline : Agreement
        Of one age threshold with sex.
    tier : str
        Of the data.
    """
    blind = table[~table["has_seen_sex"]]
    by_sex = blind[blind["truth"] == "sex"]
    best = by_sex.loc[by_sex["ari"].idxmax()]
    seen = table[table["has_seen_sex"] & (table["truth"] == "sex")]
    ks = ", ".join(f"{one.source.name} {one.best_k}" for one in grouped if one.best_k > 1)
    return {
        "answer": answer(table, baseline),
        "groups_verdict": groups_verdict(table),
        "n": int(best["n"]),
        "best": f"{best['source']}, {best['space']}",
        "best_ari": number(best["ari"], 3),
        "best_nmi": number(best["nmi"], 3),
        "best_accuracy": f"{best['accuracy'] * 100:.1f} %",
        "best_null_ari": number(best["null_ari_95"], 3),
        "best_null_accuracy": f"{best['null_accuracy_95'] * 100:.1f} %",
        "best_p": f"{best['p_best']:.3f} (the best of {len(by_sex)} groupings)",
        "best_p_beyond_age": f"{best['p_beyond_age']:.3f}",
        "baseline_ari": number(baseline.ari, 3),
        "baseline_accuracy": f"{baseline.accuracy * 100:.1f} %",
        "upper_bound": f"ARI {number(seen['ari'].max(), 3)} when trained for sex (has seen it)"
        if len(seen)
        else "no network was trained for sex on images of the same preparation",
        "band_sentence": band_sentence(table, tier),
        "nuisance_sentence": nuisance_sentence(table),
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
