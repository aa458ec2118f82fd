"""A made-up study for the deck: figures drawn here, numbers invented here, none of them results."""

import re
import shutil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from h2a_lib.figures.style import HALF, WIDE, use_style
from h2a_lib.report.staging import OPENING
from h2a_lib.study.results import Drawing, Results

REPORT = Path(__file__).parents[2] / "report"
TIER = "MADE UP FOR A TEST: neither radiographs nor results"
SENTENCE = (
    "Made up for a test, and as long as such a sentence may get: the image separates the sexes "
    "with an AUC of 0.853 (95 % CI 0.844–0.861, n = 2,611), more than the age label alone (0.747). "
    "Not shown beyond the label: no better than chance (95 % CI 49–57, n = 600)."
)
INTERVAL = "6.1 months (95 % CI 5.7–6.6, n = 2,611)"
# The runs that every figure shows.
MADE_FROM = [f"runs/test/cyclic_triangular/seed-{seed}/predictions.csv" for seed in range(3)]
VALUES = {
    "study": {
        "tier": "rsna",
        "tier_label": TIER,
        "caveat": "Made up for a test: earlier versions of the recipe were tuned on these hands, "
        "which have been evaluated more than once: results on them are optimistic by an unknown "
        "amount.",
        "profile": "test",
        "date": "1 January 2000",
        "commit": "0123abc",
        "fingerprint": "0123456789ab",
        "machine": "a test",
        "training_time": "12 minutes",
        "command": "h2a report --profile test --data somewhere",
        "n_runs": "40",
        "n_experiments": "40",
        "image_size_px": "224",
        "image_sizes": "224 × 224",
        "torch": "2.11.0",
    },
    "population": {
        "n_total": "12,611",
        "n_train": "10,000",
        "n_selection": "0",
        "n_validation": "2,611",
        "n_test": "0",
        "n_male": "6,833",
        "n_female": "5,778",
        "age_mean": "127.3",
        "age_sd": "41.2",
        "age_median": "132",
        "age_range": "1–228",
        "fingerprint": "0123456789ab",
        "multiples_of_6": "80.6 %",
        "label_sex_auc_month": "0.847 (95 % CI 0.840–0.854, n = 12,611)",
        "label_sex_auc_bins": "0.686 (95 % CI 0.677–0.695, n = 12,611)",
        "split_age_difference": "0.4 months (95 % CI −1.4–2.2, n = 12,611)",
        "split_verdict": "The split is not balanced: mean ages differ by 10.4 months",
    },
    "images": {
        "n": "12,611",
        "sizes": "5,062",
        "sizes_in_words": "5,062 sizes among 12,611",
        "width_range": "400–3,000 px",
        "height_range": "500–2,900 px",
        "bright_share": "12 % (95 % CI 11–13, n = 12,611)",
        "marker_share": "91 % (95 % CI 90–92, n = 12,611)",
        "border_share": "27 % (95 % CI 26–28, n = 12,611)",
        "mean_grey_range": "6–192",
        "contrast_range": "18–255",
        "bright_rule": "the most frequent grey value is at least 1/8 of the 99.5th percentile",
        "bright_verdict": "31 % of the images have a bright background",
        "extremes_verdict": "from black to a mean grey of 192, size 23-fold",
    },
    "age": {
        "bias": INTERVAL,
        "limits": "−15.1 to 14.2 months",
        "floor": "4.6–7.0 months (single readers: 4.8–7.0; the lower end is our own estimate)",
        "sex_gap_verdict": "Girls’ estimates exceed boys’ by 10.9 months at similar labels",
        "sex_gap_sex_input": f"With the sex as an input the gap is {INTERVAL}.",
        "challenge": "The five best entries of the 2017 challenge reached 4.2 to 4.5 months, on "
        "test images labelled with the mean of six readings",
        "external_verdict": "Re-cropped RSNA images: MAE 12.8 months, against 12.0 in validation",
        "external_source": "Made up for a test: 105 of the official validation images of RSNA, "
        "re-cropped by a third party.",
        "conformal_verdict": "90 % prediction intervals span four and a half years",
        "quantile_verdict": "Conformalised quantiles: median width 78 months against 96; bands "
        "with too low coverage: 3 against 2",
        "robustness_verdict": "30 of 43 image perturbations increase the error",
        "sexes_verdict": "girls overestimated by 6.6 months, boys underestimated by 6.4",
        "worst_verdict": "102 to 138 months, 5 of 8 underestimates",
        "sexes_sentence": f"Mean signed error of girls {INTERVAL}, of boys {INTERVAL}.",
    },
    "saliency": {"regions_verdict": "the maps fail their sanity check: they show the image"},
    "sex": {
        "auc": "0.853 (95 % CI 0.844–0.861, n = 2,611)",
        "label_auc": "0.859 (95 % CI 0.845–0.873, n = 2,611)",
        "auc_rounded": "0.85",
        "label_auc_rounded": "0.86",
        "verdict": "Sex from the image: AUC 0.853, against 0.859 from the label",
        "maturity_verdict": "Beyond label and estimated maturity, the image adds 0.089 to the AUC",
        "saliency_regions_verdict": "57 % of Grad-CAM is on the hand (25 % of the image)",
        "calibration_finding": "Sex probabilities are miscalibrated in 3 of 10 bins; after "
        "temperature scaling (T = 1.42) in 1 of 10",
        "band_sentence": "Among bands with 30 hands or more, the AUC is lowest at 0–4 years: 0.641 "
        "(95 % CI 0.541–0.745, n = 102).",
    },
    "clusters": {
        "best_ari": "0.326 (by chance up to 0.002, n = 2,611)",
        "plain_sentence": "When a program sorted the images into two groups without knowing age or "
        "sex, the groups matched the children's sex no better than chance.",
        "groups_verdict": "Clusters agree with background brightness, hardly with sex",
        "agreement_verdict": "No label-free clustering agrees with sex; a weak association remains "
        "within ages",
        "baseline_ari": "0.073",
        "trained_sentence": "For comparison, with networks trained on the label itself: ARI 0.412 "
        "with age band when trained for age; ARI 0.269 with sex when trained for sex",
    },
    "hyperparameters": {
        "possibilities": "14.9 million",
        "depths": "ResNet-18, ResNet-34, ResNet-50",
        "schedules": "× 0.7 every epoch, divide by 10 every epoch, divide by 10 every 4 epochs, "
        "halve every epoch, halve every 4 epochs, reduce on plateau, cyclic rate with equal peaks",
        "varied_verdict": "the share of the training hands was varied most",
    },
    "runs": {
        "errors_verdict": "validation errors from 10.2 to 138.9 months",
        "margin": "1 month",
        "best_network": "ResNet-18 at half width (2.8 million weights), 100 × 100 px, 32 epochs, "
        "AdamW, learning rate 0.002, one cycle, small stem, augmentation, EMA of the weights, "
        "age and sex (multi-task)",
        "default_network": "ResNet-18 at half width (2.8 million weights), 64 × 64 px, 6 epochs, "
        "Adam, learning rate 0.001, × 0.7 every epoch",
        "best_experiment": "resnet18",
        "best_label": "combined recipe, age and sex (multi-task)",
        "best_mae_rounded": "6 months",
        "constant_mae_rounded": "33 months",
        "best_verdict": "Bone age from the image alone: 6.1 months mean absolute error",
        "forest_verdict": "A recipe beats the default; no single setting demonstrably does",
        "bias_variance_verdict": "Error of the default: 13 months in training, 19 in validation",
        "data_verdict": "If the trend continues, twice the data would lower the default's error "
        "to about 16.8 months",
        "noise_sentence": "The seed-to-seed SD of the validation error is 0.3 months (10 degrees "
        "of freedom); the intervals of differences include it.",
    },
    "preprocessing": {"crop_hand_cut": "10.1 %"},
    "range_test": {
        "verdict": "The range test suggests 1.0e-03",
        "suggestion": "1.0e-03",
        "interval": "between 5e-04 and 2e-03",
        "default_lr": "1.0e-03",
    },
}
RADIOGRAPHS = {
    "raw_grid",
    "geometry",
    "pixel_normalisation",
    "contrast",
    "worst_cases",
    "extremes",
    "saliency_age",
    "saliency_sex",
    "cluster_hands",
    "mean_hands",
}


def figures_named():
    """Every figure the deck and the paper may show: (name, suffix)."""
    text = "".join(file.read_text(encoding="utf-8") for file in REPORT.glob("*.qmd"))
    result = set(re.findall(r"\(figures/([a-z0-9_]+)\.(svg|png)\)", text))
    return sorted(result - {(OPENING, "png")})


def variables_named():
    """Every variable the deck and the paper may show: (group, key)."""
    text = "".join(file.read_text(encoding="utf-8") for file in REPORT.glob("*.qmd"))
    return sorted(set(re.findall(r"\{\{< var ([a-z0-9_]+)\.([a-z0-9_]+) >\}\}", text)))


def tables_named():
    """Every table the deck and the paper may show."""
    text = "".join(file.read_text(encoding="utf-8") for file in REPORT.glob("*.qmd"))
    return sorted(set(re.findall(r'\.table name="([a-z0-9_]+)"', text)))


def plot(name):
    figure = Figure(figsize=HALF if "heatmap" in name or "roc" in name else WIDE)
    axes = figure.subplots()
    x = np.linspace(0, 20, 50)
    axes.plot(x, np.exp(-x / 4) * 30)
    labels = {"xlabel": "epoch", "ylabel": "error (months)", "title": f"Made up: {name}"}
    axes.set(xticks=[0, 20], yticks=[0, 30], **labels)
    return figure


def radiographs(name):
    rng = np.random.default_rng(0)
    # Few pixels: each test reads them several times.
    figure = Figure(figsize=(WIDE[0] / 3, WIDE[1] / 3), facecolor="#14181b")
    for axes in figure.subplots(1, 3):
        axes.imshow(rng.random((40, 30)), cmap="gray")
        axes.set_axis_off()
        axes.set_title("7.83, female", color="#f1f3f4", fontsize="xx-small")
    return figure


def runs(n=40):
    return pd.DataFrame(
        {
            "experiment": [f"step_g0.1_s{i}" for i in range(n)],
            "label": [f"divide by 10 every {i} epochs" for i in range(n)],
            "seed": range(n),
            # Names of settings: few of most runs, many of one in five.
            "differs_in": [
                "schedule" if i % 5 else "network, schedule, train_fraction, optimizer, augment"
                for i in range(n)
            ],
            "epochs": 20,
            "best_epoch": 18,
            "n_train": 10_000,
            "train_mae_months": np.linspace(3, 9, n),
            "mae_months": np.linspace(6, 12, n),
            "mae_months_low": np.linspace(5.5, 11.5, n),
            "mae_months_high": np.linspace(6.5, 12.5, n),
            "auc": np.linspace(0.5, 0.9, n),
            "n": 2611,
            "seconds": np.linspace(60, 400, n),
        }
    )


def networks():
    return pd.DataFrame(
        {
            "network": [
                *("ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101"),
                *("MobileNetV3 small", "ConvNeXt tiny"),
            ],
            "layers": [18, 34, 50, 101, 53, 59],
            "million_parameters": [11.2, 21.3, 23.5, 42.5, 0.9, 27.8],
            "GFLOPs_at_224px": [3.5, 7.2, 8.0, 15.4, 0.1, 8.9],
            "images_per_second": [1234.5, 987.6, *[np.nan] * 4],
        }
    )


def hyperparameters(n=14):
    return pd.DataFrame(
        {
            "setting": [f"setting number {i}" for i in range(n)],
            "default": "exponential (gamma 0.7)",
            "tried": "step (gamma 0.1, 0.5; step size 1, 4), plateau",
            "not_tried": "step (step size 9)",
            "experiments": range(n),
        }
    )


# Columns and rows of the tables of which no test looks at a value.
OTHER_TABLES = {
    "forest": ("label difference_months verdict seeds", 33),
    "age_metrics": ("measure split value n", 17),
    "age_by_band": ("band sex n mae_months bias_months", 17),
    "age_coverage": ("band sex n coverage half_width_months", 17),
    "sex_baselines": ("name auc accuracy gain n", 17),
    "sex_by_band": ("band n n_male auc accuracy", 17),
    "clusters_agreement": ("source trained_on space truth n ari null_best_95 accuracy", 17),
}


# Columns by which the article chooses rows of a table.
CHOSEN = {"split": "validation", "sex": "both", "truth": "sex"}


def other_table(columns, n):
    first, *others = columns.split()
    rows = {first: [f"{first} {i}" for i in range(n)]}
    rows |= {name: CHOSEN.get(name, np.linspace(0.1, 0.9, n)) for name in others}
    return pd.DataFrame(rows)


def make_study(folder, only=None):
    """Write a whole made-up study; `only` names the figures to draw."""
    use_style()
    made_from = [folder / file for file in MADE_FROM]
    for file in made_from:
        file.parent.mkdir(parents=True)
        file.write_text("id,age_months\n1,12\n")
    results = Results(folder / "results", folder, TIER, "99_made_up")
    for name, suffix in figures_named():
        if only is None or name in only:
            dark = suffix == "png" and name in RADIOGRAPHS
            with mpl.rc_context({"savefig.facecolor": "auto"} if dark else {}):
                results.save(
                    Drawing(
                        radiographs(name) if dark else plot(name),
                        name,
                        alt=f"A picture made up for a test in place of {name}.",
                        caption=f"Made up in place of {name}, and as long as such a text may get "
                        "on one line; n = 2,611, 3 seeds",
                        is_raster=suffix == "png",
                    ),
                    made_from,
                )
    groups = {group for group, _ in variables_named()}
    for group in groups:
        keys = [key for g, key in variables_named() if g == group]
        mae = {key: INTERVAL for key in keys if key.endswith("_mae")}
        mae |= {
            key: "2 worse, 1 equivalent, 8 inconclusive" for key in keys if key.endswith("_verdict")
        }
        mae |= {key: "11.2 million" for key in keys if key.endswith("_parameters")}
        results.variables(group, dict.fromkeys(keys, SENTENCE) | mae | VALUES.get(group, {}))
    for make in (runs, networks, hyperparameters):
        results.table(make(), make.__name__)
    for name, shape in OTHER_TABLES.items():
        results.table(other_table(*shape), name)
    return results


def copy_project(folder):
    staged = {"_output", "_staged.json", "_variables.yml", "figures", "fonts", ".lock", ".quarto"}
    shutil.copytree(REPORT, folder, ignore=lambda _, names: staged & set(names))
    return folder


def first_slides(project):
    """Return the source of the first two slides, which is read sooner than that of all."""
    deck = (project / "slides.qmd").read_text(encoding="utf-8")
    return "\n## ".join(deck.split("\n## ")[:3])
