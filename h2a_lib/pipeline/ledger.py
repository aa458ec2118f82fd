"""The ledger: when the validation hands of a study were evaluated, and with which networks."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from h2a_lib.files import read_csv, write_csv
from h2a_lib.pipeline.staleness import Content
from h2a_lib.pipeline.steps import DATA, Step
from h2a_lib.study.provenance import now

if TYPE_CHECKING:
    import pandas as pd

TRAINING = "train/"
FOLDER = "evaluations"


def evaluates(step: Step) -> bool:
    """Whether a step is a notebook that evaluates finished runs."""
    return step.module == "h2a_lib.pipeline.notebooks" and any(
        name.startswith(TRAINING) for name in step.needs
    )


def enter(results: Path, step: Step, content: Content) -> None:
    """Add a row for a notebook that has just evaluated a study's runs; none is ever removed.

    `networks` is the same in two rows if the same trainings were evaluated. Each notebook has a
    file of its own, as several are executed at the same time.
    """
    import pandas as pd

    trainings = {n: d for n, d in sorted(content.inputs.items()) if n.startswith(TRAINING)}
    row = {
        "finished": now(),
        "notebook": step.label,
        "runs": len(trainings),
        "networks": hashlib.sha256(str(trainings).encode()).hexdigest()[:16],
        "data": content.inputs[DATA],
    }
    file = results / FOLDER / f"{step.name}.csv"
    before = [read_csv(file)] if file.is_file() else []
    write_csv(file, pd.concat([*before, pd.DataFrame([row])], ignore_index=True))


def read(results: Path) -> "pd.DataFrame":
    """Return the rows of all notebooks, the earliest first."""
    import pandas as pd

    rows = [read_csv(file) for file in sorted((results / FOLDER).glob("[!.]*.csv"))]
    return pd.concat(rows, ignore_index=True).sort_values("finished", ignore_index=True)


def sentence(results: Path) -> str:
    """Say how often the validation hands were evaluated; "" where there is no ledger."""
    if not (results / FOLDER).is_dir():
        return ""
    rows = read(results)
    sets = rows["networks"].nunique()
    return (
        "According to the study's ledger, notebooks have evaluated the validation hands "
        f"{len(rows)} times since {rows['finished'].iloc[0][:10]}, with {sets} "
        f"set{'s' if sets > 1 else ''} of networks."
    )
