"""How far is an estimate from a file from that on the study's own reduced copy of it?

    python benchmarks/half_size.py --run runs/rsna-100px/age_and_sex/seed-0 --folder FOLDER

FOLDER holds larger files of hands that the run has predicted, called by their ids. A run with sex
input is given the recorded sex. Prints one line of JSON: differences in months.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from h2a_lib.analysis.prediction import predict_files
from h2a_lib.data.labels import id_of
from h2a_lib.study import runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    run = runs.load(options.run)
    recorded = pd.concat([run.predictions_train, run.predictions]).set_index("id")
    sexes = recorded["male"].to_dict() if run.config.sex_input else None
    predicted = predict_files([options.folder], run, sexes).predictions
    months = pd.Series({id_of(Path(one.file).name): one.age_months for one in predicted})
    difference = (months - recorded["predicted_age_months"]).dropna()
    row = {"n": len(difference), "mean_absolute": round(difference.abs().mean(), 2)}
    print(json.dumps(row | {"mean": round(difference.mean(), 2)}))


if __name__ == "__main__":
    main()
