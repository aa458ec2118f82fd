"""Does it help to average estimates over shifted copies of each image, or over two networks?

    python benchmarks/averaging.py --run runs/rsna-100px/age_and_sex/seed-0 --profile rsna-100px

Of a finished run, on the selection hands: the error of the estimate from the image as it is, from
its mirror image, and averaged over the image and four copies shifted by some pixels. With --given
RUN, a run with sex input, also of that run's estimates for either sex, weighted by the probability
of the first, and of the mean of both runs. Prints one line of JSON each. The validation hands are
not used.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from h2a_lib.data.hands import load_hands
from h2a_lib.models.inference import predictor_of
from h2a_lib.study import runs
from h2a_lib.study.notebook import open_study

SHIFTS_PX = (2, 4)


def shifted(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return images (n, s, s) moved by some pixels, black where nothing was."""
    largest, side = max(SHIFTS_PX), images.shape[1]
    padded = np.pad(images, ((0, 0), (largest, largest), (largest, largest)))
    top, left = largest - rows, largest - columns
    return padded[:, top : top + side, left : left + side]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--data")
    parser.add_argument("--given", type=Path)
    options = parser.parse_args()
    run = runs.load(options.run)
    hands = load_hands(open_study("averaging", options.profile, options.data), run.config)
    rows = hands.rows("selection")
    labels, images = hands.labels.iloc[rows], hands.images[rows]
    male = labels["male"].to_numpy(dtype=float)
    copies = {"as it is": [images], "mirrored": [images[:, :, ::-1]]}
    for px in SHIFTS_PX:
        moves = ((0, 0), (px, 0), (-px, 0), (0, px), (0, -px))
        copies[f"mean of five, {px} px apart"] = [shifted(images, *move) for move in moves]
    for name, versions in copies.items():
        given = male if run.config.sex_input else None
        estimates = [predictor_of(run).predict(version, given) for version in versions]
        ages = np.mean([estimate["predicted_age_months"] for estimate in estimates], axis=0)
        error = ages - labels["age_months"].to_numpy()
        row = {"image": name, "n": len(error), "mae_months": round(float(abs(error).mean()), 2)}
        if run.config.estimates_sex:
            p = np.stack([estimate["male_probability"] for estimate in estimates])
            row["auc"] = round(roc_auc_score(male, np.log(p / (1 - p)).mean(axis=0)), 3)
        print(json.dumps(row), flush=True)
    if options.given is not None:
        for name, ages in over_two(run, runs.load(options.given), images, male).items():
            mae = abs(ages - labels["age_months"].to_numpy()).mean()
            row = {"estimate": name, "n": len(ages), "mae_months": round(float(mae), 2)}
            print(json.dumps(row), flush=True)


@torch.no_grad()
def over_two(
    both: runs.Run, given: runs.Run, images: np.ndarray, male: np.ndarray
) -> dict[str, np.ndarray]:
    """Return months, (n,), by a run for both tasks and one with sex input, alone and averaged."""

    def of(run: runs.Run, sex: np.ndarray) -> np.ndarray:
        predictor = predictor_of(run)
        outputs = predictor.network(predictor.normalise(images), torch.tensor(sex).float())
        months = outputs["age"] * predictor.scales.age_sd_months + predictor.scales.age_mean_months
        return months.numpy()

    p = predictor_of(both).predict(images)["male_probability"]
    either = {
        run: (1 - p) * of(run, np.zeros(len(p))) + p * of(run, np.ones(len(p)))
        for run in (both, given)
    }
    known = {run: of(run, male) for run in (both, given)}
    return {
        "sex unknown, run": either[both],
        "sex unknown, run with sex input": either[given],
        "sex unknown, mean of both": (either[both] + either[given]) / 2,
        "sex known, run": known[both],
        "sex known, run with sex input": known[given],
        "sex known, mean of both": (known[both] + known[given]) / 2,
    }


if __name__ == "__main__":
    main()
