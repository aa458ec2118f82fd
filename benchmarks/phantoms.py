"""How fast phantoms are drawn, how like real radiographs they are, and what can be read in them.

    python benchmarks/phantoms.py speed
    python benchmarks/phantoms.py statistics REAL
    python benchmarks/phantoms.py network age --real REAL
    python benchmarks/phantoms.py network sex

REAL is a folder in the RSNA layout. Each prints one line of JSON per measurement. The network is
the project's ResNet-18, trained by the project's own loop on phantoms only (SETTINGS).
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from h2a_lib import phantoms as phantom
from h2a_lib.data.hands import Hands
from h2a_lib.data.images import prepare
from h2a_lib.files import read_csv
from h2a_lib.phantoms.writing import render_arguments, save_png
from h2a_lib.study import config as study

LAYOUT = "boneage-training-dataset"
STATISTICS = (
    *("mean", "sd", "p1", "p10", "p25", "p50", "p75", "p90", "p99"),
    *("aspect", "log size", "foreground", "log gradient energy"),
)


# What differs from the defaults of study.yaml, so that neither a console's habits nor how a hand
# lies are learnt as age.
SETTINGS = {
    "geometry": "pad",
    "augment": {
        **{"rotation_degrees": 12, "scale": 0.15, "shift": 0.06},
        **{"flip": True, "brightness": 0.1, "contrast": 0.3},
    },
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "one_cycle",
    "batch_size": 32,
    "ema_decay": 0.98,
    "precision": "bf16-mixed",
    "threads": 1,
}
# Long side at which the hand is looked for.
SEARCH_PX = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("speed").add_argument("--n", type=int, default=30)
    what.add_parser("statistics").add_argument("real", type=Path)
    network = what.add_parser("network")
    network.add_argument("task", choices=("age", "sex"))
    network.add_argument("--real", type=Path)
    network.add_argument("--n", type=int, default=2000)
    network.add_argument("--size-px", type=int, default=80)
    network.add_argument("--epochs", type=int, default=8)
    network.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    cv2.setNumThreads(1)
    {"speed": speed, "statistics": statistics, "network": train}[options.pop("what")](**options)


def say(**values) -> None:
    print(json.dumps(values), flush=True)


def speed(n: int) -> None:
    """Images a second on one core, drawing, encoding and writing, by processor time."""
    with tempfile.TemporaryDirectory() as folder:
        for height_px in (256, 640):
            pixels = 0
            wall, start = time.perf_counter(), time.process_time()
            for number in range(n):
                age, male, seed = render_arguments(0, number)
                drawn = phantom.render(age, male, seed, height_px)
                save_png(drawn, Path(folder) / f"{number}.png")
                pixels += drawn.image.size
            spent, wall = time.process_time() - start, time.perf_counter() - wall
            say(
                height_px=height_px,
                images_per_core_second=round(n / spent, 1),
                images_per_wall_second=round(n / wall, 1),
                megapixels_per_image=round(pixels / n / 1e6, 3),
                cores=os.cpu_count(),
            )


def describe(image: np.ndarray) -> list[float]:
    """Return STATISTICS of one image."""
    grey = image.astype(float)
    height, width = image.shape
    threshold, _ = cv2.threshold(image, 0, 255, cv2.THRESH_OTSU)
    energy = np.square(np.diff(grey, axis=0)).mean() + np.square(np.diff(grey, axis=1)).mean()
    return [
        *(grey.mean(), grey.std(), *np.percentile(grey, [1, 10, 25, 50, 75, 90, 99])),
        *(height / width, np.log(height * width) / 2, (image > threshold).mean()),
        np.log(1e-3 + energy),
    ]


def read(folder: Path) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Return the labels and the images of a folder in the RSNA layout."""
    labels = read_csv(folder / f"{LAYOUT}.csv")
    files = {file.stem: file for file in (folder / LAYOUT).iterdir()}
    return labels, [cv2.imread(str(files[str(i)]), cv2.IMREAD_GRAYSCALE) for i in labels["id"]]


def statistics(real: Path) -> None:
    """Cross-validated AUC of a logistic regression that tells phantoms from real images.

    Three phantoms are drawn for each real image, of the same age and sex, at the median size of
    the real ones, so that neither the population nor the resolution gives them away.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, images = read(real)
    height_px = round(float(np.median([max(image.shape) for image in images])))
    rows = [describe(image) for image in images]
    for repeat in range(3):
        for number, row in enumerate(labels.itertuples()):
            seed = 10_000 + repeat * len(labels) + number
            drawn = phantom.render(float(row.boneage), bool(row.male), seed, height_px)
            rows.append(describe(drawn.image))
    features = np.array(rows)
    synthetic = np.arange(len(features)) >= len(images)
    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced")
    )
    aucs = []
    for seed in range(5):
        folds = StratifiedKFold(8, shuffle=True, random_state=seed)
        score = cross_val_predict(model, features, synthetic, cv=folds, method="predict_proba")
        aucs.append(roc_auc_score(synthetic, score[:, 1]))
    say(
        auc=round(float(np.mean(aucs)), 3),
        over_5_splits=[round(float(a), 3) for a in aucs],
        n_real=len(images),
        n_phantoms=int(synthetic.sum()),
        height_px=height_px,
    )
    for column, name in enumerate(STATISTICS):
        say(
            statistic=name,
            real_median=round(float(np.median(features[~synthetic, column])), 2),
            phantom_median=round(float(np.median(features[synthetic, column])), 2),
            auc_alone=round(float(roc_auc_score(synthetic, features[:, column])), 2),
        )


def isolate(image: np.ndarray) -> np.ndarray:
    """Cut the hand out of an image, on black, with its own range of grey.

    A white top-hat with a disc wider than a palm takes away grey film, collimator and cassette;
    of what is still bright, the piece nearest the middle is the hand. The thresholds were chosen
    by looking at the 96 real images, without their ages.
    """
    height, width = image.shape
    scale = SEARCH_PX / max(height, width)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1).astype(np.float32)
    palm = int(0.42 * min(small.shape)) | 1
    hat = cv2.morphologyEx(small, cv2.MORPH_TOPHAT, _disc(palm))
    hat = cv2.morphologyEx(hat, cv2.MORPH_OPEN, _disc(5))  # no lines, no thin letters
    bright = np.sqrt(np.clip(hat / max(float(np.percentile(hat, 99)), 1e-3), 0, 1))
    edge = max(2, round(0.025 * max(small.shape)))
    inner = np.zeros_like(bright)
    inner[edge:-edge, edge:-edge] = bright[edge:-edge, edge:-edge]
    grey = (255 * inner).astype(np.uint8)
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    _, pieces = cv2.connectedComponents((grey > 0.85 * threshold).astype(np.uint8))
    down, across = (np.linspace(-1.43, 1.43, n) ** 2 for n in small.shape)
    middle = np.exp(-(down[:, None] + across[None, :]))
    weights = np.bincount(pieces.ravel(), weights=middle.ravel())
    weights[0] = 0  # the background
    hand = cv2.morphologyEx(
        (pieces == weights.argmax()).astype(np.uint8), cv2.MORPH_CLOSE, _disc(9)
    )

    rows, columns = np.flatnonzero(hand.any(axis=1)), np.flatnonzero(hand.any(axis=0))
    # From the fingertips on, 1.45 times as long as broad: the forearm's length says nothing.
    broad = columns[-1] + 1 - columns[0]
    last = min(rows[-1] + 1, rows[0] + 1.45 * broad)
    margin = 0.03 * max(broad, last - rows[0])
    top, bottom = int(max(0, (rows[0] - margin) / scale)), int((last + margin) / scale)
    left, right = (
        int(max(0, (columns[0] - margin) / scale)),
        int((columns[-1] + 1 + margin) / scale),
    )
    hand = cv2.dilate(hand, _disc(3))
    hand = cv2.resize(hand.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    hand, part = hand[top:bottom, left:right], image[top:bottom, left:right].astype(np.float32)
    low, high = np.percentile(part[hand > 0.5], [2, 97])
    return (255 * hand * np.clip((part - low) / max(high - low, 1), 0, 1)).astype(np.uint8)


def even_out(hand: np.ndarray) -> np.ndarray:
    """Give every part of an isolated hand the same contrast (Jarrett et al. 2009, ICCV).

    Without this a network takes sharp and dense bone for old: phantoms gain more of both with age
    than real hands do.
    """
    reach = hand.shape[0] / 20

    def blurred(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (0, 0), reach)

    inside, grey = (hand > 8).astype(np.float32), hand.astype(np.float32)
    share = blurred(inside) + 1e-3
    detail = (grey - blurred(grey * inside) / share) * inside
    spread = np.sqrt(blurred(detail * detail) / share) + 4
    return np.clip(128 + 45 * detail / spread, 0, 255).astype(np.uint8)


def _disc(diameter: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))


def train(task: str, real: Path | None, n: int, size_px: int, epochs: int, seed: int) -> None:
    """Train ResNet-18 on phantoms only; read phantoms that it has not seen, and real hands."""
    from lightning_fabric import Fabric
    from scipy.stats import spearmanr

    from h2a_lib.analysis.sex.errors import by_label, closest_match
    from h2a_lib.analysis.statistics.roc import auc
    from h2a_lib.models import training

    study_file = study.load(Path(__file__).parents[1] / "study.yaml")
    own = {"task": task, "image_size_px": size_px, "epochs": epochs, "seed": seed}
    settings = study_file.config("rsna", "resnet18").model_dump() | SETTINGS | own
    config = study.RunConfig(**settings)

    def square(image: np.ndarray) -> np.ndarray:
        return even_out(prepare(isolate(image), size_px, config.geometry, config.contrast))

    start = time.perf_counter()
    children = [render_arguments(1000 + seed, number) for number in range(n)]
    drawn = np.stack([square(phantom.render(*one, height_px=192).image) for one in children])
    labels = pd.DataFrame(children, columns=["age_months", "male", "seed"])
    labels["id"] = [str(number) for number in range(n)]
    labels["split"] = np.where(np.arange(n) < n // 5, "test", "train")
    labels.loc[n // 5 : n // 5 + n // 10, "split"] = "validation"
    with tempfile.TemporaryDirectory() as folder:
        trained = training.train(
            config, Hands(drawn, labels, "phantoms"), Path(folder) / "state.ckpt"
        )
    test = trained.predictions.query("split == 'test'")
    training_rows = labels.query("split == 'train'")
    result = dict(on="new phantoms", n_train=len(training_rows), n=len(test), **own)
    if task == "age":
        away = (test["predicted_age_months"] - test["age_months"]).abs().mean()
        constant = (test["age_months"] - training_rows["age_months"].median()).abs().mean()
        result |= {
            "mae_months": round(away, 1),
            "constant_mae_months": round(constant, 1),
            "spearman": round(spearmanr(test["predicted_age_months"], test["age_months"])[0], 3),
        }
    else:
        male = test["male"].to_numpy(bool)
        pairs = closest_match(test)
        result |= {
            **auc(male, test["male_probability"].to_numpy(float)).row("auc", digits=3),
            **auc(male, by_label(training_rows, test, 12)).row("auc_of_age_alone", digits=3),
            **pairs.estimate.row("auc_within_age", digits=3),
            "within_months": pairs.caliper_months,
        }
    say(**result, seconds=round(time.perf_counter() - start))
    if real is None:
        return
    labels, photos = read(real)
    ages = labels["boneage"].to_numpy(float)
    fabric = Fabric(accelerator="auto", devices=1, precision="32-true")
    images = np.stack([square(photo) for photo in photos])
    hands = training.DeviceDataset(images, ages, labels["male"].to_numpy(float), fabric.device)
    setup = training.Setup(config, hands, trained.scales, fabric)
    network = fabric.to_device(trained.network)
    observed = training.predict(network, setup, np.arange(len(labels)))
    result = {"on": "real hands", "n": len(labels)}
    if task == "age":
        months = observed["predicted_age_months"]
        # Thirds by age: where along childhood the reading is off.
        thirds = np.array_split(np.argsort(ages, kind="stable"), 3)
        result |= {
            "spearman": round(float(spearmanr(months, ages)[0]), 3),
            "mae_months": round(float(np.abs(months - ages).mean()), 1),
            "mean_age_by_third": [round(float(ages[third].mean())) for third in thirds],
            "mean_read_by_third": [round(float(months[third].mean())) for third in thirds],
        }
    else:
        male = labels["male"].to_numpy(bool)
        result |= auc(male, observed["male_probability"]).row("auc", digits=3)
    say(**result)


if __name__ == "__main__":
    main()
