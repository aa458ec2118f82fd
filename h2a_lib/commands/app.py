"""The command line: h2a report, train, predict, export, render, publish, status, doctor, data."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2a_lib.errors import UserError, require_file, unknown
from h2a_lib.pipeline import graph, prepare
from h2a_lib.pipeline.processes import end_with_leader
from h2a_lib.study.workspace import REPORT_FILES, Study, locate, project_root

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hand-To-Age: how much can a machine read from a child's hand radiograph?",
)
data_app = typer.Typer(no_args_is_help=True, help="Get, draw and verify radiographs.")
app.add_typer(data_app, name="data")


class Sex(StrEnum):
    """What the command line takes for sex."""

    female = "female"
    male = "male"


ProfileOption = Annotated[str, typer.Option(help="A profile of study.yaml.")]
DataOption = Annotated[
    Path | None,
    typer.Option(help="A folder of radiographs (CSV and images) instead of the profile's own."),
]
RunOption = Annotated[
    Path,
    typer.Option(
        exists=True, file_okay=False, help="A finished run: runs/<study>/<experiment>/seed-<k>."
    ),
]
CoresOption = Annotated[int | None, typer.Option(min=1, help="Processor cores; all by default.")]
RendererOption = Annotated[
    str, typer.Option(help="quarto, pandoc, or auto: Quarto if it is there.")
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(help="Run the steps as jobs of a cluster: slurm, or another with its profile."),
]
WorkflowProfileOption = Annotated[
    Path | None, typer.Option(help="A Snakemake profile; cluster/EXECUTOR by default.")
]


@app.command()
def report(
    profile: ProfileOption = "demo",
    data: DataOption = None,
    cores: CoresOption = None,
    renderer: RendererOption = "auto",
    executor: ExecutorOption = None,
    workflow_profile: WorkflowProfileOption = None,
) -> None:
    """Make the whole report: data, runs, figures, deck. Only what is missing or stale is made."""
    _check_renderer(renderer)
    study = locate(profile, data)
    cluster = graph.Cluster.named(executor, workflow_profile, study.root)
    decks = [study.deck_folder / name for name in REPORT_FILES]
    before = [deck.stat().st_mtime_ns if deck.exists() else 0 for deck in decks]
    with graph.alone(study):
        prepare.prepare_data(study)
        graph.make_report(study, at_most=cores, renderer=renderer, cluster=cluster)
    if before == [deck.stat().st_mtime_ns for deck in decks]:
        typer.echo(f"Nothing to do: the report of {study.name!r} is up to date.")
    for deck in decks:
        typer.echo(_short(deck))


@app.command(name="prepare", hidden=True)
def prepare_study(
    profile: ProfileOption = "demo",
    data: DataOption = None,
    until: Annotated[str, typer.Option(help="data or runs")] = "data",
) -> None:
    """Make what a notebook needs: the data, or all runs of the profile too."""
    study = locate(profile, data)
    with graph.alone(study):
        prepare.prepare_data(study)
        if until == "runs":
            graph.build(study, ["runs"])


@app.command()
def train(
    experiment: Annotated[str, typer.Argument(help="An experiment of study.yaml.")],
    profile: ProfileOption = "demo",
    data: DataOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and of every draw.")] = 0,
    executor: ExecutorOption = None,
    workflow_profile: WorkflowProfileOption = None,
) -> None:
    """Train one network in its notebook, or go on with it, and print what came out."""
    study = locate(profile, data)
    folder = study.run_folder(experiment, seed)
    study.run_config(experiment, seed)
    cluster = graph.Cluster.named(executor, workflow_profile, study.root)
    with graph.alone(study):
        prepare.prepare_data(study)
        graph.build(study, [_short(folder / "metrics.json", study.root)], cluster=cluster)
    typer.echo((folder / "metrics.json").read_text().strip())
    typer.echo(_short(folder))


@app.command()
def render(
    profile: ProfileOption = "demo",
    data: DataOption = None,
    renderer: RendererOption = "auto",
    results: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="A folder of published results, not a profile's."
        ),
    ] = None,
    stand_ins: Annotated[
        bool, typer.Option(help="Show phantoms in place of published results' radiographs.")
    ] = True,
) -> None:
    """Render the deck from the results as they are."""
    from h2a_lib import report
    from h2a_lib.commands import publish
    from h2a_lib.report.study_variables import write_study_variables

    _check_renderer(renderer)
    end_with_leader()
    if results is None:
        study = open_finished(profile, data)
        write_study_variables(study)
        publish.withdraw(study.results_folder)
        root, results, folder = study.root, study.results_folder, study.deck_folder
    else:
        root, results = project_root(), results.resolve()
        folder = root / "report" / "_output" / results.name
    done = report.render(results, root / "report", folder, root, renderer, stand_ins)
    typer.echo(f"rendered with {done.renderer}: {_short(done.html)} and beside it")


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(help="Radiographs, of any format.")],
    run: RunOption,
    sex: Annotated[Sex | None, typer.Option(help="For a run that has sex as an input.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    explain: Annotated[
        Path | None, typer.Option(help="Draw what the network looked at to this PNG.")
    ] = None,
) -> None:
    """Read hands: bone age with an interval, sex with a probability. Not for diagnosis."""
    import json

    from h2a_lib.commands import predict
    from h2a_lib.study import runs

    male = None if sex is None else sex is Sex.male
    if explain is not None:
        _check_png("--explain", explain)
    loaded = runs.load(run)
    readings = predict.read_hands(files, loaded, male)
    if as_json:
        typer.echo(json.dumps(readings.as_json(), indent=2, ensure_ascii=False))
    else:
        trained_on = f"Trained on: {loaded.tier_label}."
        typer.echo("\n".join([*readings.lines(), f"{trained_on} {predict.NOTICE}"]))
    if explain is not None:
        predict.explain(readings, loaded, explain, male)
    raise typer.Exit(readings.exit_code)


@app.command()
def export(
    run: RunOption,
    to: Annotated[str, typer.Option(help="onnx or torch.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The model's file.")] = None,
) -> None:
    """Write a run's network, its normalisation inside, and its model card."""
    from h2a_lib.commands import export
    from h2a_lib.study import runs

    loaded = runs.load(run)
    for file in export.export(loaded, to, loaded.tier_label, out):
        typer.echo(_short(file))


@app.command()
def publish(profile: ProfileOption = "rsna-100px", data: DataOption = None) -> None:
    """Make a study's results fit to be given away: no radiograph, no row of a child."""
    from h2a_lib.commands import publish

    typer.echo(_short(publish.publish(open_finished(profile, data))))


@app.command()
def status(profile: ProfileOption = "demo", data: DataOption = None) -> None:
    """Say how far a study is: each run with its epochs and error."""
    from rich.console import Console
    from rich.table import Table

    from h2a_lib.study import runs

    study = locate(profile, data)
    table = Table("experiment", "seed", "state", "epochs", "validation", title=study.name)
    finished = 0
    planned = list(study.config.runs_of(profile))
    # Without the data's fingerprint, every run would be made again.
    wanted = study.unfinished_runs() if study.data_file.exists() else planned
    for experiment, seed in planned:
        folder = study.run_folder(experiment, seed)
        try:
            run = runs.load(folder)
        except UserError:
            state = "interrupted" if (folder / runs.CHECKPOINT).exists() else "–"
            table.add_row(experiment, str(seed), state, "", "")
            continue
        stale = (experiment, seed) in wanted
        finished += not stale
        seen = run.metrics["validation"]
        errors = [f"{seen[key]:.2f} {unit}" for key, unit in _SHOWN.items() if key in seen]
        state = "stale" if stale else "done"
        table.add_row(experiment, str(seed), state, str(run.metrics["epochs"]), ", ".join(errors))
    Console().print(table)
    typer.echo(f"{finished} of {len(planned)} runs are done")
    for deck in sorted(study.deck_folder.glob("*.*")):
        typer.echo(_short(deck))


_SHOWN = {"mae_months": "months", "auc": "AUC"}


@app.command()
def doctor() -> None:
    """Say what this machine has and what it lacks."""
    from h2a_lib.commands import doctor

    missing = doctor.examine(project_root())
    raise typer.Exit(1 if missing else 0)


@data_app.command()
def phantom(
    n: Annotated[int, typer.Option(min=1, help="How many hands.")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="The folder to make, or the growth chart's file.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes every pixel.")] = 0,
    height_px: Annotated[int, typer.Option(min=64, help="Median height of the images.")] = 640,
    heaping: Annotated[float, typer.Option(min=0, max=1, help="Share of heaped labels.")] = 0.0,
    reader_noise: Annotated[float, typer.Option(min=0, help="SD of the labels, months.")] = 0.0,
    growth_chart: Annotated[
        bool, typer.Option("--growth-chart", help="Draw the growth chart instead.")
    ] = False,
) -> None:
    """Draw synthetic radiographs, in the layout of the RSNA data."""
    from h2a_lib import phantoms
    from h2a_lib.figures import growth_chart as chart

    if growth_chart:
        file = out or Path("growth-chart.png")
        _check_png("--out", file)
        chart.growth_chart(file)
        typer.echo(_short(file))
        return
    if out is None:
        raise UserError("name the folder to make with --out, or ask for the --growth-chart")
    phantoms.write(
        out, n, seed, height_px=height_px, heaping=heaping, reader_noise_months=reader_noise
    )
    typer.echo(f"{n} synthetic radiographs in {out}")


@data_app.command()
def fetch(
    source: Annotated[list[str], typer.Option(help="kaggle, a folder, or an archive; repeatable.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder to fill.")],
    copy: Annotated[bool, typer.Option(help="Copy a folder's files, do not link.")] = False,
) -> None:
    """Bring the RSNA radiographs from Kaggle, from archives, or from a folder."""
    from h2a_lib.data import fetch

    for found in fetch.fetch(source, out, copy=copy):
        typer.echo(f"{found.name}: {_short(found.table)}")
    typer.echo(f"verify with: h2a data check {out}")


@data_app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Radiographs, or a label table alone.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    age_unit: Annotated[
        str | None, typer.Option(help="months or years, where the heading does not say it.")
    ] = None,
    columns: Annotated[
        str, typer.Option(help="Headings of your own: 'id=Patient,age_years=Age,sex=Gender'.")
    ] = "",
) -> None:
    """Check every label and every image; exit code 0 only when all is sound."""
    import json

    from h2a_lib.data import check
    from h2a_lib.data.labels import TableFormat

    found = check.check(folder, TableFormat.parse(columns, age_unit), progress=not as_json)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        _print_frame(found.counts_table(), "sets")
        if not found.is_sound:
            _print_frame(found.problem_table(), "problems")
        for line in (*found.warnings, *found.inspection.notes):
            typer.echo(line)
        typer.echo(f"fingerprint {found.inspection.fingerprint}")
        n = len(found.problems)
        typer.echo("sound" if found.is_sound else f"{n} problem{'s' if n > 1 else ''}")
    raise typer.Exit(0 if found.is_sound else 2)


@data_app.command()
def cache(
    experiment: Annotated[str, typer.Argument(help="An experiment that reads these images.")],
    profile: ProfileOption = "demo",
    data: DataOption = None,
) -> None:
    """Decode all images once, as an experiment reads them."""
    from h2a_lib.data.hands import load_hands

    study = locate(profile, data)
    config = study.run_config(experiment)
    prepare.prepare_data(study)
    hands = load_hands(study, config)
    typer.echo(f"{len(hands.images):,} images in {_short(study.cache_folder(config))}")


def open_finished(profile: str, data: Path | None) -> Study:
    """Return a study whose data were prepared before."""
    study = locate(profile, data)
    require_file(study.data_file, f"run `h2a report --profile {profile}` first")
    return study


def _check_renderer(renderer: str) -> None:
    if renderer not in ("auto", "quarto", "pandoc"):
        raise unknown("renderer", renderer, ("auto", "quarto", "pandoc"))


def _check_png(option: str, path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise UserError(f"{option} {path}: the picture is a PNG, so name it so")


def _print_frame(frame: "pd.DataFrame", title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    for name in frame.columns:
        # Folded, not cut off with dots: half a file's name is of no use.
        table.add_column(escape(name), overflow="fold")
    for row in frame.astype(object).where(frame.notna(), "").itertuples(index=False):
        # An id such as "[/b]0" is text, and no markup.
        table.add_row(*map(Text, map(str, row)))
    Console().print(table)


def _short(path: Path, start: Path | None = None) -> str:
    """Return a path as seen from the working directory, if it is below it."""
    start = start or Path.cwd()
    return str(path.relative_to(start) if path.is_relative_to(start) else path)


def main() -> None:
    """Run the command line; a user's mistake ends in its message and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"h2a: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
