"""How fast phantoms are drawn, how like real radiographs they are, and what can be read in them.

    python benchmarks/phantoms.py speed
    python benchmarks/phantoms.py statistics REAL
    python benchmarks/phantoms.py network --real REAL --n 2000

REAL is a folder in the RSNA layout. Each prints one line of JSON per measurement. The network is
a small one of its own, so that a processor core trains it within minutes, and it sees phantoms
only; the study's own ResNets are measured by the study.
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

from h2a_lib.data import phantom
from h2a_lib.data.phantom.writing import child, save_png

LAYOUT = "boneage-training-dataset"
STATISTICS = (
    *("mean", "sd", "p1", "p10", "p25", "p50", "p75", "p90", "p99"),
    *("aspect", "log size", "foreground", "log gradient energy"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("speed").add_argument("--n", type=int, default=30)
    what.add_parser("statistics").add_argument("real", type=Path)
    network = what.add_parser("network")
    network.add_argument("--real", type=Path)
    network.add_argument("--n", type=int, default=2000)
    network.add_argument("--size-px", type=int, default=96)
    network.add_argument("--epochs", type=int, default=10)
    network.add_argument("--seed", type=int, default=1)
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
                age, male, seed = child(0, number)
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
    labels = pd.read_csv(folder / f"{LAYOUT}.csv")
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


def squares(images: list[np.ndarray], size_px: int) -> "object":
    """Return (n, 1, size, size) tensors: padded to a square, each with mean 0 and SD 1."""
    import torch

    out = np.zeros((len(images), 1, size_px, size_px), np.float32)
    for number, image in enumerate(images):
        height, width = image.shape
        scale = size_px / max(height, width)
        new = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, new, interpolation=cv2.INTER_AREA).astype(np.float32)
        small = (small - small.mean()) / (small.std() + 1e-3)
        top, left = (size_px - new[1]) // 2, (size_px - new[0]) // 2
        out[number, 0, top : top + new[1], left : left + new[0]] = small
    return torch.from_numpy(out)


def vary(images: "object") -> "object":
    """Turn, scale and re-contrast a batch, so that no console's habits are learnt as age."""
    import torch

    n = len(images)
    turn, scale = 0.15 * torch.randn(n), torch.exp(0.08 * torch.randn(n))
    rotation = torch.zeros(n, 2, 3)
    rotation[:, 0, 0], rotation[:, 0, 1] = scale * torch.cos(turn), -scale * torch.sin(turn)
    rotation[:, 1, 0], rotation[:, 1, 1] = scale * torch.sin(turn), scale * torch.cos(turn)
    grid = torch.nn.functional.affine_grid(rotation, list(images.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    low, high = moved.amin((2, 3), keepdim=True), moved.amax((2, 3), keepdim=True)
    curve = torch.exp(0.35 * torch.randn(n, 1, 1, 1))
    grey = ((moved - low) / (high - low + 1e-6)) ** curve
    grey = (grey - grey.mean((2, 3), keepdim=True)) / (grey.std((2, 3), keepdim=True) + 1e-3)
    return grey + 0.15 * torch.rand(n, 1, 1, 1) * torch.randn_like(grey)


def train(real: Path | None, n: int, size_px: int, epochs: int, seed: int) -> None:
    """Train on phantoms only, to read age and sex; test on new phantoms and on real hands."""
    import torch
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    children = [child(seed, number) for number in range(n)]
    drawn = [phantom.render(*one, height_px=max(448, 2 * size_px)).image for one in children]
    ages = np.array([age for age, _, _ in children])
    male = np.array([m for _, m, _ in children])
    images, held_out = squares(drawn, size_px), n // 5
    target = torch.tensor(np.stack([(ages - 127) / 41, male * 2.0 - 1], axis=1)).float()

    def block(into: int, out: int, stride: int) -> torch.nn.Sequential:
        return torch.nn.Sequential(
            torch.nn.Conv2d(into, out, 3, stride, 1, bias=False),
            torch.nn.BatchNorm2d(out),
            torch.nn.ReLU(),
        )

    net = torch.nn.Sequential(
        *(block(1, 16, 2), block(16, 32, 1), block(32, 48, 2), block(48, 64, 1)),
        *(block(64, 96, 2), block(96, 96, 1), block(96, 128, 2)),
        *(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Dropout(0.2)),
        torch.nn.Linear(512, 2),
    )
    learn = torch.arange(held_out, n)
    steps = epochs * -(-len(learn) // 32)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1)
    start = time.perf_counter()
    for _ in range(epochs):
        net.train()
        for batch in learn[torch.randperm(len(learn))].split(32):
            shift = torch.randint(-size_px // 16, size_px // 16 + 1, (2,)).tolist()
            answer = net(vary(torch.roll(images[batch], shift, (2, 3))))
            wanted = target[batch]
            loss = (answer[:, 0] - wanted[:, 0]).abs().mean()
            loss = loss + torch.nn.functional.soft_margin_loss(answer[:, 1], wanted[:, 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()

    def answers(x: "object") -> np.ndarray:
        with torch.no_grad():
            return torch.cat([net(part) for part in x.split(64)]).numpy()

    given, test_ages, test_male = answers(images[:held_out]), ages[:held_out], male[:held_out]
    constant = np.abs(test_ages - np.median(ages[held_out:])).mean()
    # The age-only baseline: the share of boys among the training phantoms of the same year.
    years = np.digitize(ages, np.arange(12, 228, 12))
    share = [male[held_out:][years[held_out:] == y].mean() for y in years[:held_out]]
    say(
        on="phantoms",
        n_train=n - held_out,
        n_test=held_out,
        size_px=size_px,
        epochs=epochs,
        mae_months=round(float(np.abs(given[:, 0] * 41 + 127 - test_ages).mean()), 1),
        constant_mae_months=round(float(constant), 1),
        sex_auc=round(float(roc_auc_score(test_male, given[:, 1])), 3),
        sex_auc_from_age_only=round(
            float(roc_auc_score(test_male, np.nan_to_num(share, nan=0.5))), 3
        ),
        seconds=round(time.perf_counter() - start),
    )
    if real is not None:
        labels, photos = read(real)
        given = answers(squares(photos, size_px))
        months = given[:, 0] * 41 + 127
        say(
            on="real hands, never seen",
            n=len(labels),
            spearman=round(float(spearmanr(months, labels["boneage"])[0]), 3),
            mae_months=round(float(np.abs(months - labels["boneage"]).mean()), 1),
            median_read_months=round(float(np.median(months)), 1),
            sex_auc=round(float(roc_auc_score(labels["male"], given[:, 1])), 3),
        )


if __name__ == "__main__":
    main()
