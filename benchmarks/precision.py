"""Does mixed precision cost accuracy, and what does it gain, on this processor?

    python benchmarks/precision.py --profile demo --experiment resnet18 --seeds 5

Trains one experiment with each seed in float32 and in bfloat16, in turns. Prints one line of JSON a
pair, then the mean difference of the errors on the selection hands over the seeds with its 95 %
interval (Student's t), and the ratio of the processor times.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import t

from h2a_lib.data.hands import load_hands
from h2a_lib.models.training import train
from h2a_lib.study.notebook import open_study

PRECISIONS = ("32-true", "bf16-mixed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--experiment", default="resnet18")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("an interval needs two seeds")
    study = open_study("precision", options.profile)
    hands = load_hands(study, study.run_config(options.experiment))
    errors, seconds = [], []
    for seed in range(options.seeds):
        config = study.run_config(options.experiment, seed)
        pair, spent = [], []
        for precision in PRECISIONS:
            with tempfile.TemporaryDirectory() as folder:
                begun = time.process_time()
                of_precision = config.model_copy(update={"precision": precision})
                trained = train(of_precision, hands, Path(folder, "checkpoint.pt"))
                spent.append(time.process_time() - begun)
            pair.append(trained.progress.best_error)
        errors.append(pair)
        seconds.append(spent)
        print(json.dumps({"seed": seed, "error": pair, "seconds": np.round(spent, 1).tolist()}))
    difference = np.subtract(*np.transpose(errors)[::-1])
    half = t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
    middle = difference.mean()
    spent_of = np.sum(seconds, axis=0)
    print(
        f"bf16 minus float32: {middle:+.2f} (95 % CI {middle - half:+.2f} to {middle + half:+.2f}, "
        f"{len(difference)} seeds); float32 takes {spent_of[0] / spent_of[1]:.2f} times as long"
    )


if __name__ == "__main__":
    main()
