"""What must be there before the deck is rendered."""

import json

import pytest
import yaml

from h2a_lib.errors import UserError
from h2a_lib.report import render
from h2a_lib.report.checks import check_source
from h2a_lib.report.outline import read_outline
from h2a_lib.report.pandoc import run_pandoc
from h2a_lib.report.staging import stage


def problems_of(project, study):
    staged = stage(study / "results", project)
    return check_source(read_outline(project / "slides.qmd"), staged, project, study)


def add_slide(project, text):
    deck = project / "slides.qmd"
    deck.write_text(deck.read_text(encoding="utf-8") + f"\n\n## The added slide\n\n{text}\n")


def test_the_deck_of_a_whole_study_has_no_problem(project, study):
    assert problems_of(project, study) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{< var runs.no_such >}}", "unknown variable runs.no_such"),
        ("**({{< var nobody.answer >}})**", "unknown variable nobody.answer: the groups are"),
        ("`{{< var runs.in_code >}}`", "unknown variable runs.in_code"),
        ("{{< meta title >}}", "{{< meta title >}} is not understood"),
        ("![](figures/no_such.svg)", "missing figure no_such: no notebook of this study drew it"),
        ("![](figures/ages_by_sex.png)", "the study has ages_by_sex.svg"),
        ("![A picture of nothing here](logo.png)", "missing picture logo.png"),
        ("See @nobody1999.", "unknown citation @nobody1999"),
        ('::: {.table name="no_such"}\n:::', "unknown table 'no_such'"),
        ("::: notes\n{{< var runs.in_notes >}}\n:::", "unknown variable runs.in_notes"),
    ],
)
def test_what_is_missing_is_named_with_its_slide(project, study, text, problem):
    add_slide(project, text)
    (found,) = problems_of(project, study)
    assert found.startswith("slide 'The added slide': ")
    assert problem in found


def test_a_figure_older_than_the_run_it_shows_is_refused(project, study):
    shown = study / "runs" / "made_up" / "predictions.csv"
    shown.write_text("id,age_months\n1,13\n")
    found = problems_of(project, study)
    assert any(
        "figure ages_by_sex is older than runs/made_up/predictions.csv" in what for what in found
    )


def test_a_figure_whose_run_is_gone_is_refused(project, study):
    (study / "runs" / "made_up" / "predictions.csv").unlink()
    assert any("which is gone: run 99_made_up" in what for what in problems_of(project, study))


def test_a_figure_without_alt_text_is_refused(project, study):
    sidecar = study / "results" / "figures" / "ages_by_sex.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"alt": ""}))
    (found,) = problems_of(project, study)
    assert found == "slide 'Who is in it: ages by sex': figure ages_by_sex has no alt text"


def test_all_problems_are_told_at_once_and_nothing_is_written(project, study, tmp_path):
    add_slide(project, "{{< var runs.no_such >}} ![](figures/no_such.svg) [@nobody1999]")
    with pytest.raises(UserError, match="3 problems in what results shows") as error:
        render(study / "results", project, tmp_path / "out", study, "pandoc")
    assert "runs.no_such" in str(error.value)
    assert "slides.qmd, slide 'The added slide': unknown citation @nobody1999" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_optional_slides_fall_out_where_the_study_has_nothing_for_them(project, study):
    for file in (study / "results" / "figures").glob("sex_roc.*"):
        file.unlink()
    (study / "results" / "variables" / "sex.yml").unlink()
    stage(study / "results", project)
    outline = read_outline(project / "slides.qmd")
    assert problems_of(project, study) == []
    assert [title for title in outline.left_out if "sex" in title]
    (appendix,) = [slide for slide in outline.slides if slide.title == "What is not here"]
    assert "Question 2, sex" in appendix.text


def test_required_figures_may_not_fall_out(project, study):
    for file in (study / "results" / "figures").glob("ages_by_sex.*"):
        file.unlink()
    assert any("missing figure ages_by_sex" in what for what in problems_of(project, study))


def test_a_figure_without_its_description_is_refused(project, study):
    (study / "results" / "figures" / "ages_by_sex.json").unlink()
    with pytest.raises(UserError, match=r"ages_by_sex\.svg has no description"):
        stage(study / "results", project)


def test_a_folder_without_results_is_refused(project, tmp_path):
    with pytest.raises(UserError, match="holds no results"):
        stage(tmp_path / "nothing", project)


def test_what_was_staged_for_another_study_does_not_stay(project, study):
    stage(study / "results", project)
    (study / "results" / "figures" / "forest.svg").unlink()
    (study / "results" / "figures" / "forest.json").unlink()
    stage(study / "results", project)
    assert not (project / "figures" / "forest.svg").exists()
    assert "forest" not in json.loads((project / "_staged.json").read_text())["figures"]


def test_a_variable_that_looks_like_markdown_is_plain_text_to_quarto(project, study):
    hard = "h2a report --profile `x` *a_b* [5.7, 6.6] <0.001 \\ $2$ @who ~3 ^4 1. 'it'"
    file = study / "results" / "variables" / "study.yml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"hard": hard}))
    stage(study / "results", project)
    # Quarto hands the variables to Pandoc as metadata, which Pandoc reads as Markdown.
    (project / "empty.md").write_text("$for(study/pairs)$$endfor$")
    (project / "hard.txt").write_text("$study.hard$")
    said = run_pandoc(
        project,
        *("empty.md", "--metadata-file=_variables.yml", "--template=hard.txt", "--to=plain"),
        "--wrap=none",
    )
    assert said.strip() == hard


def test_a_radiograph_gives_its_ground_to_the_slide_and_a_plot_does_not(project, study):
    figures = stage(study / "results", project).figures
    assert figures["raw_grid"]["ground"] == "#14181b"
    assert figures["ages_by_sex"]["ground"] == "light"


def test_tables_are_written_with_even_decimals_and_intervals(project, study):
    table = stage(study / "results", project).tables["runs"]
    at = table["names"].index("mae_months")
    assert table["header"][at] == "MAE (months), 95 % CI"
    assert [row[at] for row in table["rows"]][:2] == ["6.00 (5.50–6.50)", "6.16 (5.66–6.66)"]
    assert "mae_months_low" not in table["names"]
    assert table["numeric"][at]
    assert not table["numeric"][0]


def test_a_number_stays_with_its_unit_and_n_with_its_number(project, study):
    said = stage(study / "results", project).variables["runs"]["best_mae"]
    assert said.replace("\N{NO-BREAK SPACE}", "_") == "6.1_months (95_%_CI 5.7–6.6, n_=_2,611)"
