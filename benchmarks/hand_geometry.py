"""Does turning each hand upright and cropping to its outline help a network on foreign framing?

    python benchmarks/hand_geometry.py --work FOLDER --test FOLDER [FOLDER ...]

Draws 2,000 phantoms, trains the experiment `best` of `demo` on them twice, centre-cropped and
turned and cropped to the hand, and ranks the hands of each test folder (a table of labels, images)
by age with both. Prints one line of JSON for each: Spearman's correlation with the label, and the
error in months. `h2a_lib` has no such geometry.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr

from h2a_lib.analysis.prediction import predict_files
from h2a_lib.analysis.saliency.registration import MOST_DEGREES, hand_of
from h2a_lib.data import images
from h2a_lib.data.decode import read
from h2a_lib.data.labels import read_labels
from h2a_lib.study import runs

ROOT = Path(__file__).parents[1]
SIZE_PX, SEARCH_PX, MARGIN = 64, 128, 0.06


def to_hand(pixels: np.ndarray) -> np.ndarray:
    """Turn a hand upright and crop to it, (s, s), uint8; padded whole where none is detected."""
    fraction = min(1, SEARCH_PX / max(pixels.shape))
    small = images.scale_to(pixels, *(max(1, round(side * fraction)) for side in pixels.shape))
    points = np.argwhere(hand_of(small))[:, ::-1].astype(float)
    if not len(points):
        return images.resize(pixels, SIZE_PX, "pad")
    _, axes = np.linalg.eigh(np.cov(points.T))
    long = axes[:, 1] * np.sign(axes[1, 1] or 1)
    angle = np.arctan2(long[0], long[1])
    angle = angle if abs(np.degrees(angle)) <= MOST_DEGREES else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    low, high = (points @ turn.T).min(0), (points @ turn.T).max(0)
    scale = SIZE_PX / ((high - low).max() * (1 + 2 * MARGIN))
    shrunk = images.scale_to(pixels, *(max(1, round(n * min(1, scale))) for n in small.shape))
    to_small = np.array(small.shape[::-1]) / shrunk.shape[::-1]
    shift = SIZE_PX / 2 - scale * (low + high) / 2
    matrix = np.hstack([scale * turn @ np.diag(to_small), shift[:, None]])
    return cv2.warpAffine(shrunk, matrix, (SIZE_PX, SIZE_PX))


def converted(folder: Path, geometry: str, work: Path) -> Path:
    """Copy a folder, its images as a network is given them."""
    target = work / f"{folder.name}-{geometry}"
    for file in (one for one in folder.rglob("*") if one.is_file() and one.suffix != ".json"):
        copy = target / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".csv":
            shutil.copyfile(file, copy)
        else:
            square = to_hand(read(file)) if geometry == "hand" else images.prepare(file, SIZE_PX)
            cv2.imwrite(str(copy), square)
    return target


def h2a(*words: str | Path) -> str:
    command = [sys.executable, "-m", "h2a_lib.commands", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    work = options.work.resolve()
    phantoms = work / "phantoms"
    h2a("data", "phantom", "--n", "2000", "--seed", "2020", "--height-px", "320", "--out", phantoms)
    for geometry in ("center_crop", "hand"):
        data = converted(phantoms, geometry, work)
        trained = h2a("train", "best", "--profile", "demo", "--data", data)
        run = runs.load(ROOT / trained.splitlines()[-1])
        for folder in options.test:
            copy = converted(folder.resolve(), geometry, work)
            months = read_labels(next(copy.glob("*.csv"))).set_index("id")["age_months"]
            predicted = predict_files([copy], run, None).predictions
            estimates = {Path(one.file).stem: one.age_months for one in predicted}
            labels = [months[name] for name in estimates]
            errors = np.abs(np.array(labels) - list(estimates.values()))
            row = {
                "geometry": geometry,
                "folder": folder.name,
                "n": len(labels),
                "spearman": round(float(spearmanr(labels, list(estimates.values())).statistic), 2),
                "mae_months": round(float(errors.mean()), 1),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
