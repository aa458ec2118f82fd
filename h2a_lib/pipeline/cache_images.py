"""The graph's step that caches images: `python -m` it with PROFILE DATA EXPERIMENT."""

import sys

from h2a_lib.data.hands import load_hands
from h2a_lib.study.workspace import locate

if __name__ == "__main__":
    profile, data, experiment = sys.argv[1:]
    study = locate(profile, data)
    load_hands(study, study.run_config(experiment))
