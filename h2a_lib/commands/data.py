"""`h2a data`: get, draw and check radiographs."""

from pathlib import Path
from typing import Annotated

import typer

from h2a_lib.commands.shared import (
    AgeUnitOption,
    ColumnsOption,
    DataOption,
    ProfileOption,
    check_suffix,
    print_frame,
    short,
)
from h2a_lib.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Get, draw and check radiographs.")


@app.command()
def phantom(
    n: Annotated[int, typer.Option(min=1, help="Number of hands.")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="The folder to create, or the growth chart's file.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes every pixel.")] = 0,
    height_px: Annotated[int, typer.Option(min=64, help="Median height of the images.")] = 640,
    heaping: Annotated[
        float, typer.Option(min=0, max=1, help="Share of labels moved to an atlas plate.")
    ] = 0.0,
    reader_noise: Annotated[
        float, typer.Option(min=0, help="SD of simulated reader error, in months.")
    ] = 0.0,
    growth_chart: Annotated[
        bool, typer.Option("--growth-chart", help="Draw the growth chart instead.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Replace an earlier set.")] = False,
) -> None:
    """Draw synthetic radiographs, in the layout of the RSNA data."""
    if growth_chart:
        file = out or Path("growth-chart.png")
        check_suffix("--out", file, ".png")
        if file.exists() and not again:
            raise UserError(f"{file} exists: replace it with --again, or name another with --out")
        from h2a_lib.figures import growth_chart as chart

        chart.growth_chart(file)
        typer.echo(short(file))
        return
    if out is None:
        raise UserError("name the folder to create with --out, or ask for the --growth-chart")
    from h2a_lib import phantoms

    phantoms.write(
        out,
        n,
        seed,
        height_px=height_px,
        heaping=heaping,
        reader_noise_months=reader_noise,
        overwrite=again,
    )
    typer.echo(f"{n} synthetic radiographs in {out}")


@app.command()
def fetch(
    source: Annotated[list[str], typer.Option(help="kaggle, a folder, or an archive; repeatable.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder to fill.")],
    copy: Annotated[bool, typer.Option(help="Copy a folder's files instead of linking.")] = False,
    age_unit: AgeUnitOption = None,
    columns: ColumnsOption = "",
) -> None:
    """Get the RSNA radiographs from Kaggle, from archives, or from a folder."""
    import shlex

    from h2a_lib.data import fetch, sources
    from h2a_lib.data.labels import TableFormat

    form = TableFormat.parse(columns, age_unit)
    for image_set in fetch.fetch(source, out, copy=copy, form=form):
        typer.echo(f"{image_set.name}: {short(image_set.table)}")
        for warning in sources.inspect_table(image_set.table, form).warnings:
            typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"verify with: {shlex.join(['h2a', 'data', 'check', str(out), *form.options])}")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Radiographs, or a label table alone.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    age_unit: AgeUnitOption = None,
    columns: ColumnsOption = "",
) -> None:
    """Check every label and every image; exit code 0 only if all are valid."""
    import json

    from h2a_lib.data import check
    from h2a_lib.data.labels import TableFormat

    result = check.check(folder, TableFormat.parse(columns, age_unit), progress=not as_json)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        print_frame(result.counts_table(), "sets")
        if not result.is_sound:
            print_frame(result.problem_table(), "problems")
        for line in (*result.warnings, *result.inspection.notes):
            typer.echo(line)
        typer.echo(f"fingerprint {result.inspection.fingerprint}")
        n = len(result.problems)
        typer.echo("valid" if result.is_sound else f"{n} problem{'s' if n > 1 else ''}")
    raise typer.Exit(0 if result.is_sound else 2)


@app.command()
def cache(
    experiment: Annotated[str, typer.Argument(help="An experiment that uses these images.")],
    profile: ProfileOption = "demo",
    data: DataOption = None,
) -> None:
    """Decode all images once, as an experiment uses them."""
    from h2a_lib.data.hands import load_hands
    from h2a_lib.pipeline import prepare
    from h2a_lib.study.workspace import locate

    study = locate(profile, data)
    config = study.run_config(experiment)
    prepare.prepare_data(study)
    hands = load_hands(study, config)
    typer.echo(f"{len(hands.images):,} images in {short(study.cache_folder(config))}")
