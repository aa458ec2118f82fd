"""`h2a publish`: results prepared for sharing, without patient-level data."""

import shutil
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2a_lib.commands.shared import DataOption, ProfileOption, open_finished, short
from h2a_lib.errors import UserError
from h2a_lib.files import (
    read_json,
    read_yaml,
    remove,
    write_folder_atomically,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from h2a_lib.study.workspace import Study

# A run's record; its predictions are of single children, and its weights are large.
RECORD = {
    "config.yaml": "every setting of the run",
    "history.csv": "error and learning rate, one row per epoch",
    "metrics.json": "errors at the epoch chosen on the selection hands",
    "provenance.json": "commit, packages, machine, seconds",
}
# Columns that would make a table one of children.
PER_CHILD = {"id", "path"}
MADE_BY_TRAINING = "05_train"
CITATION = (
    "Halabi SS, Prevedello LM, Kalpathy-Cramer J, et al. The RSNA Pediatric Bone Age Machine "
    "Learning Challenge. Radiology 2019;290(2):498-503."
)


# The questions that the README answers, and the variables that answer them.
QUESTIONS = {
    "age": ("Can bone age be estimated?", ("answer", "sex_input_sentence")),
    "sex": ("Can sex be classified?", ("answer",)),
    "clusters": ("Do unlabelled images cluster by sex?", ("answer",)),
}


def command(
    profile: ProfileOption = "rsna-100px",
    data: DataOption = None,
    note: Annotated[
        str, typer.Option(help="What a reader must know of these results, for the README.")
    ] = "",
) -> None:
    """Prepare a study's results for sharing, without patient-level data."""
    typer.echo(short(publish(open_finished(profile, data), note)))


def publish(study: "Study", note: str = "") -> Path:
    """Put the runs' records and a README beside the results, and list what must stay private.

    The README, which is returned, names the maker of each file, and has the `note`.
    `published.json` beside it names the figures that show single radiographs ("withheld"). Like
    `labels.csv` and notebooks, they stay out of git. Averages of `LEAST_AVERAGED` registered hands
    or more are kept. A UserError if a run is missing, or a table has a row for each child.
    """
    import pandas as pd

    from h2a_lib.report.staging import MARK

    folder = study.results_folder
    if not (folder / "variables" / "study.yml").is_file():
        command = f"h2a report --profile {study.profile_name}"
        raise UserError(f"{folder} is not complete: run `{command}` first")
    runs = study.finished_runs()
    for file in sorted(folder.glob("tables/[!.]*.csv")):
        if named := PER_CHILD & set(pd.read_csv(file, nrows=0).columns):
            raise UserError(f"{file} has a row for each child (column {', '.join(named)})")
    with write_folder_atomically(folder / "runs") as records:
        for run in runs:
            (records / run.name).mkdir(parents=True)
            for name in RECORD:
                shutil.copyfile(run.folder / name, records / run.name / name)
    provenance = runs[0].provenance
    write_json(
        folder / MARK,
        {
            "commit": provenance["commit"],
            "data_fingerprint": study.fingerprint,
            "tier_label": study.tier_label,
            "withheld": sorted(_withheld(folder)),
        },
    )
    write_text(folder / "README.md", _readme(study, [run.name for run in runs], note))
    return folder / "README.md"


def withdraw(results: Path) -> None:
    """Treat results as a study's own again: its runs are here, and may have changed since."""
    from h2a_lib.report.staging import MARK

    remove(results / MARK)


def _withheld(folder: Path) -> Iterator[str]:
    """Yield names of figures that are or contain pictures, but for averages of many hands."""
    from h2a_lib.study.results import LEAST_AVERAGED

    for sidecar in folder.glob("figures/[!.]*.json"):
        figure = read_json(sidecar)
        file = sidecar.with_name(figure["file"])
        if figure.get("averaged_over", 1) >= LEAST_AVERAGED:
            continue
        if file.suffix == ".png" or b"<image" in file.read_bytes():
            yield figure["name"]


def _readme(study: "Study", runs: list[str], note: str) -> str:
    from h2a_lib.pipeline import ledger
    from h2a_lib.study.results import NO_NOTEBOOK

    folder = study.results_folder
    summary = read_yaml(folder / "variables" / "study.yml")
    options = summary["command"].removeprefix("h2a report")
    lines = [
        f"# Results of the study `{study.name}`",
        "",
        f"{study.profile.about} Data: {study.tier_label}, fingerprint `{study.fingerprint[:12]}`.",
        "",
        f"Made by `h2a report{options}` and `h2a publish{options}` on {summary['machine']}; "
        f"{summary['n_runs']} runs, {summary['training_time']} of training, finished "
        f"{summary['date']}.{note and f' {note}'}",
        "",
        *([f"**{caveat}**", ""] if (caveat := summary.get("caveat")) else []),
        *_answers(folder),
        "These files contain no patient-level data: predictions, weights, executed notebooks and "
        "figures that show single radiographs stay with the data.",
        "",
        *([f"The data: {CITATION}", ""] if study.tier == "rsna" else []),
        "| files | what | made by |",
        "| --- | --- | --- |",
    ]
    withheld = set(_withheld(folder))
    for sidecar in sorted(folder.glob("figures/[!.]*.json")):
        figure = read_json(sidecar)
        if figure["name"] not in withheld:
            lines.append(
                f"| figures/{figure['file']} | {figure['caption']} | {figure['made_by']} |"
            )
    makers = study.results.makers()
    for kind, what in (("tables", "tables of the report"), ("variables", "its numbers")):
        files = sorted(folder.glob(f"{kind}/[!.]*.*"), key=lambda file: makers[file.name])
        for maker, made in groupby(files, lambda file: makers[file.name]):
            lines.append(f"| {kind}/: {_listed(made)} | {what} | {maker} |")
    ledgers = sorted((folder / ledger.FOLDER).glob("[!.]*.csv"))
    if ledgers:
        what = "each evaluation of the validation hands"
        lines.append(f"| {ledger.FOLDER}/: {_listed(ledgers)} | {what} | {NO_NOTEBOOK} |")
    for name, what in RECORD.items():
        lines.append(f"| runs/*/{name} | {what} | {MADE_BY_TRAINING} |")
    return "\n".join([*lines, "", f"The runs: {', '.join(f'`{run}`' for run in runs)}."]) + "\n"


def _listed(files: Iterable[Path]) -> str:
    return ", ".join(sorted(file.name for file in files))


def _answers(folder: Path) -> Iterator[str]:
    """Yield the study's questions with their answers, one paragraph each."""
    for group, (question, names) in QUESTIONS.items():
        if (file := folder / "variables" / f"{group}.yml").is_file():
            values = read_yaml(file)
            answers = " ".join(str(values[name]) for name in names if name in values)
            yield from (f"**{question}** {answers}", "")
