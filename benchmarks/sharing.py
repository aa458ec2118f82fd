"""How many runs at once fill a GPU.

    python benchmarks/sharing.py [--at-once 1,2,4,8] [--network resnet18] [--size 224] [--batch 64]
        [--seconds 8]

So many processes train side by side, each a network of its own by whole epochs of ours with
augmentation (`training.ours`), and their images per second are summed. Without a GPU they share the
processor, each with one thread. Prints a table and writes benchmarks/results/sharing.json.
"""

import argparse
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from training import HANDS, ours, rate

from h2a_lib.files import write_json
from h2a_lib.models import networks
from h2a_lib.study import provenance

ROOT = Path(__file__).parents[1]
WARM_UP_IMAGES = HANDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at-once", default="1,2,4,8", help="how many, one after the other")
    parser.add_argument("--network", choices=networks.TRUNKS, default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="bf16-mixed")
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    rows = [side_by_side(int(n), options) for n in options.at_once.split(",")]
    table = pd.DataFrame(rows).set_index("at once")
    print(table)
    result = {"rates": rows, "options": vars(options), "machine": provenance.machine()}
    write_json(ROOT / "benchmarks" / "results" / "sharing.json", result)


def side_by_side(n: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the sum of the images per second of n processes, and the memory that they take."""
    spawned = multiprocessing.get_context("spawn")
    together, rates = spawned.Barrier(n), spawned.Queue()
    processes = [spawned.Process(target=learn, args=(together, rates, options)) for _ in range(n)]
    for process in processes:
        process.start()
    result = [rates.get() for _ in processes]
    for process in processes:
        process.join()
    images_per_s, gigabytes = map(sum, zip(*result, strict=True))
    return {"at once": n, "images/s": round(images_per_s), "GPU memory, GB": round(gigabytes, 1)}


def learn(together: Barrier, rates: multiprocessing.Queue, options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (HANDS // 8, options.size, options.size), dtype=np.uint8)
    steps = ours(pixels, random.uniform(1, 228, len(pixels)).astype(np.float32), options)
    n, until = 0, time.monotonic() + options.seconds
    while n < WARM_UP_IMAGES and time.monotonic() < until:
        n += next(steps)
    together.wait()
    images_per_s = rate(steps, options.seconds)
    gpu = torch.cuda.is_available()
    rates.put((images_per_s, torch.cuda.max_memory_reserved() / 1e9 if gpu else 0.0))


if __name__ == "__main__":
    main()
