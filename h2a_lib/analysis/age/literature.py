"""What others have reported on the same questions, each with its source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """A result of others, on the scale it was measured on.

    Errors on the two kinds of `labels` are not comparable: the mean of "six readings" is nearer to
    the truth than "one report".
    """

    what: str
    mae_months: float
    labels: str
    source: str


AGE_ERRORS = (
    Reported(
        "VGG-16 (kmader, Kaggle)",
        13.9,
        "one report",
        "kmader, notebook of the Kaggle data set kmader/rsna-bone-age; image alone",
    ),
    Reported(
        "challenge 2017, best",
        4.2,
        "six readings",
        "Halabi et al. 2019, doi:10.1148/radiol.2018180736; the five best: 4.2 to 4.5",
    ),
    Reported(
        "Deeplasia",
        3.87,
        "six readings",
        "Rassmann et al. 2024, doi:10.1007/s00247-023-05789-1; three networks, with sex input",
    ),
    Reported(
        "ConvNeXt (2025)",
        3.68,
        "six readings",
        "Am J Sports Med 2025, doi:10.1177/03635465251359618; five folds, with sex input",
    ),
)


# What the best of the field reach, for a study of RSNA images to be seen in proportion.
CHALLENGE = (
    "The five best entries of the 2017 challenge reached 4.2 to 4.5 months, on test images "
    "labelled with the mean of six readings"
)

# Mean absolute difference of single readers from a consensus, lowest and highest reader, months:
# Scientific Reports 2025, doi:10.1038/s41598-025-20148-w (`rassmann2025` in references.bib).
SINGLE_READERS = (4.8, 7.0)


def labels_of(split: str) -> str:
    """Return how a split was labelled: the official test hands by "six readings"."""
    return "six readings" if split == "test" else "one report"


# An auto-encoder with K-means on RSNA's bands of 48 months, best-match accuracy: Zhu et al. 2022,
# arXiv:2206.05641. The largest band alone has 39 %.
BAND_ACCURACY = 0.7615
BAND_MAJORITY = 0.39
