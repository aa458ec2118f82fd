"""How many planted copies the search for near-duplicates finds, and how often it is wrong.

    python benchmarks/duplicates.py data/rsna-100px

Copies of training pictures are added to the held-out hands, one kind at a time; recall is the share
whose original is found with at least `MIN_CORRELATION`. The false alarms are the pairs that are
found without any planted copy.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from h2a_lib.analysis.population import splits
from h2a_lib.data import decode, sources
from h2a_lib.data.hands import Hands
from h2a_lib.data.labels import assign_split

SEED = 0


def turn(image: np.ndarray, degrees: float) -> np.ndarray:
    side = image.shape[0]
    return cv2.warpAffine(image, splits._turn(side, degrees, 1.0), (side, side))


def crop(image: np.ndarray, share: float) -> np.ndarray:
    """Cut a share of the picture off at each side."""
    cut, size = round(image.shape[0] * share), image.shape[::-1]
    return cv2.resize(image[cut:-cut, cut:-cut], size, interpolation=cv2.INTER_AREA)


def compress(image: np.ndarray, quality: int = 30) -> np.ndarray:
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)


def shrink(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[::-1])


def mirror(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1])


COPIES = {
    "compressed": compress,
    "resized": shrink,
    "brightened": lambda image: (image * 0.8 + 40).clip(0, 255).astype(np.uint8),
    "rotated by 2°": lambda image: turn(image, 2),
    "rotated by 3°": lambda image: turn(image, 3),
    "rotated by 5°": lambda image: turn(image, -5),
    "cropped by 2 %": lambda image: crop(image, 0.02),
    "cropped by 3 %": lambda image: crop(image, 0.03),
    "mirrored": mirror,
    "mirrored, rotated, cropped": lambda image: crop(turn(mirror(image), 3), 0.03),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=Path("data/rsna-100px"))
    parser.add_argument("--planted", type=int, default=300, help="copies of each kind")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    labels = sources.inspect(options.data).labels
    labels = labels[["id", "age_months", "male", "path"]]
    labels["split"] = assign_split(labels["id"]).to_numpy()
    pictures = np.stack([decode.read(options.data / path) for path in labels["path"]])

    start, cpu = time.perf_counter(), time.process_time()
    hands = Hands(pictures, labels, "benchmark")
    pairs = splits.closest_pairs(hands)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{len(labels):,} pictures: {seconds:.0f} s, {cpu:.0f} s of processor time")
    print(f"most similar pair of different pictures: {pairs['correlation'].max():.3f}")
    alarms = (pairs["correlation"] >= splits.MIN_CORRELATION).sum()
    print(f"false alarms: {alarms} of {len(pairs):,} held-out pictures")

    train = np.flatnonzero(labels["split"] == "train")
    originals = np.random.default_rng(SEED).choice(train, options.planted, replace=False)
    copies = [copy(pictures[row]) for copy in COPIES.values() for row in originals]
    kind = np.repeat(list(COPIES), options.planted)
    rows = np.tile(originals, len(COPIES))
    planted = Hands(
        np.concatenate([pictures[train], np.stack(copies)]),
        pd.concat(
            [labels.iloc[train], labels.iloc[rows].assign(split="validation")], ignore_index=True
        ),
        "benchmark",
    )
    result = splits.closest_pairs(planted)
    correct = train[result["train"]] == rows
    hit = pd.Series(correct & (result["correlation"] >= splits.MIN_CORRELATION))
    for name, recall in hit.groupby(kind, sort=False).mean().items():
        print(f"recall, {name}: {recall:.3f} (n = {options.planted})")


if __name__ == "__main__":
    main()
