"""What of a study on patients' radiographs may be given away: results, and no child's."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from h2a_lib.errors import UserError
from h2a_lib.files import (
    read_json,
    read_yaml,
    remove,
    write_folder_atomically,
    write_json,
    write_text,
)
from h2a_lib.report.staging import MARK
from h2a_lib.study.runs import Run
from h2a_lib.study.workspace import Study

# A run's record; its predictions are of single children, and its weights are large.
RECORD = {
    "config.yaml": "every setting of the run",
    "history.csv": "error and learning rate, one row an epoch",
    "metrics.json": "errors on the validation radiographs, by the best epoch",
    "provenance.json": "commit, packages, machine, seconds",
}
# Columns that would make a table one of children.
PER_CHILD = {"id", "path"}
CITATION = (
    "Halabi SS, Prevedello LM, Kalpathy-Cramer J, et al. The RSNA Pediatric Bone Age Machine "
    "Learning Challenge. Radiology 2019;290(2):498-503."
)


def publish(study: Study) -> Path:
    """Put the runs' records and a README beside the results, and say what must stay out of them.

    Parameters
    ----------
    study : Study
        A study whose runs are finished and whose notebooks have run.

    Returns
    -------
    Path
        README.md, which says of each file what made it. `published.json` beside it names the
        figures that show radiographs ("withheld"); git ignores them, `labels.csv` and notebooks.

    Raises
    ------
    UserError
        If a run is missing, or a table has rows of single children.
    """
    folder = study.results_folder
    if not (folder / "variables" / "study.yml").is_file():
        command = f"h2a report --profile {study.profile_name}"
        raise UserError(f"{folder} is not complete: run `{command}` first")
    found = study.finished_runs()
    for file in sorted(folder.glob("tables/*.csv")):
        if named := PER_CHILD & set(pd.read_csv(file, nrows=0).columns):
            raise UserError(f"{file} has rows of single children (column {', '.join(named)})")
    with write_folder_atomically(folder / "runs") as records:
        for run in found:
            (records / run.name).mkdir(parents=True)
            for name in RECORD:
                shutil.copyfile(run.folder / name, records / run.name / name)
    made = found[0].provenance
    write_json(
        folder / MARK,
        {
            "commit": made["commit"],
            "data_fingerprint": study.fingerprint,
            "tier_label": study.tier_label,
            "withheld": sorted(_withheld(folder)),
        },
    )
    write_text(folder / "README.md", _readme(study, found))
    return folder / "README.md"


def withdraw(results: Path) -> None:
    """Take results as a study's own again: its runs are here, and may have gone on since."""
    remove(results / MARK)


def _withheld(folder: Path) -> Iterator[str]:
    """Yield names of figures that are or hold pictures: those may show radiographs."""
    for sidecar in folder.glob("figures/*.json"):
        figure = read_json(sidecar)
        file = sidecar.with_name(figure["file"])
        if file.suffix == ".png" or b"<image" in file.read_bytes():
            yield figure["name"]


def _readme(study: Study, found: list[Run]) -> str:
    folder = study.results_folder
    summary = read_yaml(folder / "variables" / "study.yml")
    asked = summary["command"].removeprefix("h2a report")
    lines = [
        f"# Results of the study `{study.name}`",
        "",
        f"{study.tier_label}. {study.profile.about}",
        "",
        f"Made by `h2a report{asked}` and `h2a publish{asked}` on "
        f"{summary['machine']}; {summary['n_runs']} runs, {summary['training_time']} of training, "
        f"finished {summary['date']}. Data fingerprint `{study.fingerprint[:12]}`.",
        "",
        *_answers(folder),
        "No radiograph and no row of a child is here: predictions, weights, executed notebooks "
        "and figures that show radiographs stay with the data.",
        "",
        *([f"The data: {CITATION}", ""] if study.tier == "rsna" else []),
        "| file | what | made by |",
        "| --- | --- | --- |",
    ]
    withheld = set(_withheld(folder))
    for sidecar in sorted(folder.glob("figures/*.json")):
        figure = read_json(sidecar)
        if figure["name"] not in withheld:
            lines.append(
                f"| figures/{figure['file']} | {figure['caption']} | {figure['made_by']} |"
            )
    for kind, what in (("tables", "a table of the deck"), ("variables", "numbers of the deck")):
        for file in sorted((folder / kind).glob("*.*")):
            lines.append(f"| {kind}/{file.name} | {what} | {_maker(folder, file)} |")
    for run in found:
        for name, what in RECORD.items():
            lines.append(f"| runs/{run.name}/{name} | {what} | 05_train |")
    return "\n".join(lines) + "\n"


def _answers(folder: Path) -> Iterator[str]:
    """Yield what the study says on its questions, one paragraph each."""
    for question in ("age", "sex", "clusters"):
        if (file := folder / "variables" / f"{question}.yml").is_file():
            found = read_yaml(file)
            yield from (found[name] for name in ("answer", "told_sentence") if name in found)
            yield ""


def _maker(folder: Path, file: Path) -> str:
    """Return the notebook whose text names a table or group of variables."""
    for notebook in sorted(folder.glob("notebooks/[!.]*.ipynb")):
        if f'"{file.stem}"' in notebook.read_text(encoding="utf-8").replace('\\"', '"'):
            return notebook.stem
    return "h2a report"
