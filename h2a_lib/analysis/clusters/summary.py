"""The numbers of question 3, as the slides print them.

Tables are from `groups.compare`; the baseline, of one age threshold, is from `groups.age_baseline`.
"""

import pandas as pd

from h2a_lib.analysis.age import literature
from h2a_lib.analysis.clusters.groups import MIN_HANDS, NO_LABEL
from h2a_lib.analysis.statistics.agreement import SIGNIFICANCE, Agreement
from h2a_lib.analysis.statistics.bootstrap import capitalised, number, sample_size

# Clusters agree with something, and not only weakly, from this best-match accuracy on.
MOSTLY = 0.75
TOO_FEW = f"Too few hands to cluster: at least {MIN_HANDS} validation hands are needed"


def label_free(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of representations that were trained on no label of these hands."""
    return table[table["trained_on"] == NO_LABEL]


def answer(table: pd.DataFrame, baseline: Agreement | None) -> str:
    """Answer question 3 from label-free representations alone.

    The clusters agree with sex, or they do not; what is associated within ages comes second. Those
    that agree beyond age are of one clustering that does both.
    """
    by_sex = _by_sex(table)
    if by_sex.empty or baseline is None:
        return f"{TOO_FEW}."
    best = _best(by_sex)
    if best["majority"] == 1:
        return f"Clustering by sex cannot be assessed: all {best['n']:,} hands are of one sex."
    threshold = f"A single age threshold reaches {number(baseline.ari, 3)}."
    beyond_age = _beyond_age(by_sex)
    same_ages = "among hands with labelled ages in the same half-year,"
    within = capitalised(f"{same_ages} no association with sex was detected.")
    if len(beyond_age):
        most = beyond_age.loc[beyond_age["difference_within_age"].abs().idxmax()]
        points = abs(most["difference_within_age"]) * 100
        within = (
            f"{capitalised(same_ages) if agrees(by_sex) else f'However, {same_ages}'} the "
            "proportions of girls and of boys assigned to a cluster differ by "
            f"{points:.0f} percentage points ({_which(most)}; adjusted {_p(most['p_beyond_age'])})."
        )
    rival = strongest_rival(label_free(table))
    if rival is not None and rival["ari"] > best["ari"]:
        ari = number(rival["ari"], 3)
        within += f" The strongest agreement is with {rival['truth']} ({_which(rival)}; ARI {ari})."
    if not agrees(by_sex):
        p = by_sex["p_best"].min()
        return (
            "No label-free clustering agrees with sex overall (highest ARI "
            f"{number(best['ari'], 3)}, {_which(best)}; smallest adjusted {_p(p)}). {within}"
        )
    where = (
        f"ARI {number(best['ari'], 3)} ({best['source']}, {best['space']}; "
        f"{sample_size(best['n'])})"
    )
    if not best["p_beyond_age"] < SIGNIFICANCE:
        verdict = f"Clusters agree with sex, but not beyond age: {where} is more than chance."
    elif best["accuracy"] >= MOSTLY and best["ari"] > baseline.ari:
        verdict = f"Clusters agree with sex: {where}."
    else:
        share = f"{best['accuracy'] * 100:.0f} %"
        verdict = (
            f"Clusters agree weakly with sex: {where}, with {share} of the hands in the cluster of "
            "their sex."
        )
    return f"{verdict} {within} {threshold}"


def agrees(by_sex: pd.DataFrame) -> bool:
    """Whether any clustering agrees with sex more than by chance."""
    return bool(by_sex["p_best"].min() < SIGNIFICANCE)


def _beyond_age(by_sex: pd.DataFrame) -> pd.DataFrame:
    return by_sex[by_sex["p_beyond_age"] < SIGNIFICANCE]


def _which(row: pd.Series) -> str:
    """Name a clustering: "self-supervised", "self-supervised, UMAP"."""
    return f"{row['source']}{', UMAP' if row['space'] == 'UMAP' else ''}"


def _p(value: float) -> str:
    return "p < 0.01" if value < 0.01 else f"p = {value:.2f}"


def _best(rows: pd.DataFrame) -> pd.Series:
    return rows.loc[rows["ari"].idxmax()]


def _by_sex(table: pd.DataFrame) -> pd.DataFrame:
    rows = label_free(table)
    return rows[rows["truth"] == "sex"]


def groups_verdict(table: pd.DataFrame) -> str:
    """Say by what images cluster most in label-free representations, and whether by sex."""
    rows = label_free(table)
    if rows.empty:
        return "Too few hands to cluster"
    rival = strongest_rival(rows)
    by_sex = _by_sex(table)
    if agrees(by_sex):
        best = _best(by_sex)
        if rival is None or best["ari"] >= rival["ari"]:
            return f"Clusters agree with sex (ARI {number(best['ari'], 2)})"
        return f"Clusters agree more with {_rival(rival)} than with sex"
    if rival is None:
        return "Clusters agree with none of the known properties"
    sex = "hardly with sex" if len(_beyond_age(by_sex)) else "not with sex"
    agree = "agree" if rival["accuracy"] >= MOSTLY else "agree weakly"
    return f"Clusters {agree} with {_rival(rival)}, {sex}"


def _rival(row: pd.Series) -> str:
    return row["truth"].removesuffix(" band")


def agreement_verdict(table: pd.DataFrame) -> str:
    """Say whether any label-free clustering agrees with sex, for a title."""
    by_sex = _by_sex(table)
    if by_sex.empty:
        return "Too few hands to cluster"
    if not agrees(by_sex):
        if len(_beyond_age(by_sex)):
            return (
                "No label-free clustering agrees with sex overall; at similar bone ages there is "
                "a weak association"
            )
        return "No label-free clustering agrees with sex"
    best = _best(by_sex)
    return f"Label-free clusters agree with sex: adjusted Rand index {number(best['ari'], 3)}"


def plain_sentence(table: pd.DataFrame) -> str:
    """Say the answer to question 3 without statistics."""
    by_sex = _by_sex(table)
    if by_sex.empty:
        return "There were too few images to sort into groups."
    within = ""
    if not agrees(by_sex) and len(_beyond_age(by_sex)):
        within = "; a weak association appeared only among children of similar bone age"
    return (
        "When a program sorted the images into two groups without knowing age or sex, the groups "
        f"matched the children's sex {'' if agrees(by_sex) else 'no '}better than chance{within}."
    )


def strongest_rival(rows: pd.DataFrame) -> pd.Series | None:
    """Return the row of what the hands cluster by most, other than sex; None if by nothing."""
    others = rows[(rows["truth"] != "sex") & (rows["p_best"] < SIGNIFICANCE)]
    return _best(others) if len(others) else None


def band_sentence(table: pd.DataFrame, tier: str) -> str:
    """Give the best-match accuracy on 48-month bands without labels; on RSNA beside the published.

    The published clustering was unsupervised, so it is compared with label-free rows only.
    """
    rows = label_free(table)
    rows = rows[rows["truth"] == "age band"]
    if rows.empty:
        return TOO_FEW
    best = rows.loc[rows["accuracy"].idxmax()]
    ours = (
        f"Without labels, {best['accuracy'] * 100:.1f} % of the {best['n']:,} hands are in the "
        f"cluster that matches their 48-month band ({best['source']}, {best['space']}; ARI "
        f"{number(best['ari'], 3)}, adjusted {_p(best['p_best'])}; the largest of {best['k']} "
        f"bands alone holds {best['majority'] * 100:.0f} %)"
    )
    if tier != "rsna":
        return ours
    return (
        f"{ours}; published, also without labels (Zhu et al. 2022): "
        f"{literature.BAND_ACCURACY * 100:.2f} % "
        f"(largest band {literature.BAND_MAJORITY * 100:.0f} %)"
    )


def nuisance_sentence(table: pd.DataFrame) -> str:
    """Say how far hands cluster by how the radiograph was taken: best ARI with each nuisance."""
    rows = label_free(table)
    rows = rows[~rows["truth"].isin(["sex", "age band"])]
    if rows.empty:
        return "The images do not differ in how they were acquired."
    parts = []
    for name, own in rows.groupby("truth", sort=False):
        best = _best(own)
        by_chance = "" if best["p_best"] < SIGNIFICANCE else ", not more than by chance"
        parts.append(f"{name} {number(best['ari'], 3)} ({best['source']}{by_chance})")
    return f"Highest ARI with how the radiograph was acquired: {'; '.join(parts)}."


def strongest(table: pd.DataFrame) -> pd.DataFrame:
    """Return, for each representation and space, what its groups agree with most."""
    best = table.loc[table.groupby(["source", "space"], sort=False)["ari"].idxmax()]
    columns = ["source", "trained_on", "space", "truth", "ari", "null_best_95", "nmi", "accuracy"]
    return best[[*columns, "majority"]].reset_index(drop=True)


def trained_sentence(table: pd.DataFrame) -> str:
    """Say what representations that were trained on a label reach with that label."""
    parts = []
    for label, truth in (("age", "age band"), ("sex", "sex")):
        rows = table[table["trained_on"].str.contains(label) & (table["truth"] == truth)]
        if len(rows):
            best = _best(rows)
            parts.append(
                f"ARI {number(best['ari'], 3)} with {truth} when trained for {best['trained_on']}"
            )
    if not parts:
        return "No network was trained on a label of these images"
    return f"For comparison, with networks trained on the label itself: {'; '.join(parts)}"


def variables(
    table: pd.DataFrame, stability: pd.DataFrame, baseline: Agreement | None, tier: str
) -> dict[str, str]:
    """Return ready-to-print values; `stability` is of all clusterings, one below the other."""
    return {
        "answer": answer(table, baseline),
        "groups_verdict": groups_verdict(table),
        "agreement_verdict": agreement_verdict(table),
        "plain_sentence": plain_sentence(table),
        "band_sentence": band_sentence(table, tier),
        "nuisance_sentence": nuisance_sentence(table),
        "trained_sentence": trained_sentence(table),
        "stability": stability_sentence(stability),
        "best_ari": _best_ari(table),
        "baseline_ari": "–" if baseline is None else number(baseline.ari, 3),
    }


def _best_ari(table: pd.DataFrame) -> str:
    """Return the highest ARI with sex, and what the highest of so many reaches by chance."""
    by_sex = _by_sex(table)
    if by_sex.empty:
        return "–"
    best = _best(by_sex)
    chance = number(best["null_best_95"], 3)
    return (
        f"{number(best['ari'], 3)} (highest without labels; by chance up to {chance} for this "
        "clustering, "
        f"{sample_size(best['n'])})"
    )


def stability_sentence(stability: pd.DataFrame) -> str:
    """Say how alike clusterings are over seeds and neighbourhoods: mean and least ARI."""
    if stability.empty:
        return TOO_FEW
    parts = [
        f"{what} {number(rows['ari_mean'].mean(), 2)} (lowest {number(rows['ari_least'].min(), 2)})"
        for what, rows in stability.groupby("what", sort=False)
    ]
    return f"ARI between clusterings of the same hands: {'; '.join(parts)}"
