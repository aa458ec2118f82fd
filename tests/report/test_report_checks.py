"""What must be there before the deck is rendered."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from report_results import INTERVAL, MADE_FROM, first_slides

from h2a_lib.errors import UserError
from h2a_lib.report import render
from h2a_lib.report.checks import check_numbers, check_source
from h2a_lib.report.outline import read_outline
from h2a_lib.report.pandoc import run_pandoc
from h2a_lib.report.staging import stage


def problems_of(project, study):
    staged = stage(study / "results", project)
    return check_source(read_outline(project / "slides.qmd"), staged, project, study)


def add_slide(project, text):
    """Add a slide to the first two, which are read sooner than all."""
    deck = project / "slides.qmd"
    deck.write_text(f"{first_slides(project)}\n\n## The added slide\n\n{text}\n")


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
    (result,) = problems_of(project, study)
    assert result.startswith("slide 'The added slide': ")
    assert problem in result


def test_a_figure_older_than_the_run_it_shows_is_refused(project, study):
    shown = study / MADE_FROM[0]
    shown.write_text("id,age_months\n1,13\n")
    result = problems_of(project, study)
    assert any(f"figure ages_by_sex is older than {MADE_FROM[0]}" in what for what in result)


def test_a_figure_whose_run_is_gone_is_refused(project, study):
    (study / MADE_FROM[0]).unlink()
    assert any("which is gone: run 99_made_up" in what for what in problems_of(project, study))


def test_a_figure_without_alt_text_is_refused(project, study):
    sidecar = study / "results" / "figures" / "ages_by_sex.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"alt": ""}))
    (result,) = problems_of(project, study)
    assert result == "slide 'The data': figure ages_by_sex has no alt text"


def test_all_problems_are_reported_at_once_and_nothing_is_written(project, study, tmp_path):
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
    (last,) = [slide for slide in outline.slides if slide.title == "Reproduce this"]
    assert "Question 2, sex" in last.text


def test_required_figures_may_not_fall_out(project, study):
    for file in (study / "results" / "figures").glob("ages_by_sex.*"):
        file.unlink()
    assert any("missing figure ages_by_sex" in what for what in problems_of(project, study))


def test_what_a_killed_writer_left_is_no_result(study, project):
    before = stage(study / "results", project)
    for name in ("figures/.tmp-a-1-x.svg", "tables/.tmp-a-1-x.csv", "variables/.tmp-a-1-x.yml"):
        (study / "results" / name).write_text("{half")
    assert stage(study / "results", project) == before


def test_a_figure_without_its_description_is_refused(project, study):
    (study / "results" / "figures" / "ages_by_sex.json").unlink()
    with pytest.raises(UserError, match=r"ages_by_sex\.svg has no description"):
        stage(study / "results", project)


def test_a_folder_without_results_is_refused(project, tmp_path):
    with pytest.raises(UserError, match="holds no results"):
        stage(tmp_path / "nothing", project)


def test_what_is_optional_within_what_is_optional_falls_out_by_itself(project, study):
    add_slide(
        project,
        '::::: {.when has="table:runs"}\nOuter.\n\n:::: {.when has="table:no_such"}\nInner.\n\n'
        '::: {.table name="no_such"}\n:::\n::::\n:::::',
    )
    assert problems_of(project, study) == []
    text = read_outline(project / "slides.qmd").slides[-1].text
    assert "Outer" in text
    assert "Inner" not in text


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
    message = run_pandoc(
        project,
        *("empty.md", "--metadata-file=_variables.yml", "--template=hard.txt", "--to=plain"),
        "--wrap=none",
    )
    assert message.strip() == hard


@pytest.mark.parametrize(
    "shortcode",
    [
        "{{< var runs.best_mae >}}",
        '[[]{data-raw="var"} []{data-raw="runs.best_mae"}]{data-raw="{{< var runs.best_mae >}}"}',
    ],
    ids=["as Pandoc reads it", "as Quarto hands it to the filters"],
)
def test_a_large_number_is_the_value_of_its_variable(project, study, shortcode):
    stage(study / "results", project)
    (project / "one.md").write_text(f"::: number\n{shortcode}\n:::\n")
    message = run_pandoc(
        project, "one.md", "--lua-filter=filters/content.lua", "--to=plain", "--wrap=none"
    )
    value, interval = message.replace("\N{NO-BREAK SPACE}", " ").split("\n\n")
    assert f"{value} ({interval.strip()})" == INTERVAL


def test_a_radiograph_gives_its_ground_to_the_slide_and_a_plot_does_not(project, study):
    figures = stage(study / "results", project).figures
    assert figures["raw_grid"]["ground"] == "#14181b"
    assert figures["ages_by_sex"]["ground"] == "light"


def test_tables_are_written_with_even_decimals_and_intervals(project, study):
    table = stage(study / "results", project).tables["runs"]
    at = table["names"].index("mae_months")
    assert table["header"][at].replace("\N{NO-BREAK SPACE}", " ") == "MAE (months), 95 % CI"
    assert [row[at] for row in table["rows"]][:2] == [
        "6.00\N{NO-BREAK SPACE}(5.50–6.50)",
        "6.15\N{NO-BREAK SPACE}(5.65–6.65)",
    ]
    assert "mae_months_low" not in table["names"]
    assert table["numeric"][at]
    assert not table["numeric"][0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 20], ["1", "20"]),
        ([11.2, 3.0], ["11.2", "3.0"]),
        ([1.25, 3.0], ["1.25", "3.00"]),
        ([1234.5, 3.0], ["1,234", "3"]),
        ([0.85, 0.5], ["0.850", "0.500"]),
        ([0.00123, 0.5], ["0.00123", "0.5"]),
        ([0.0012, 0.5], ["0.0012", "0.5000"]),
        ([1.5, None], ["1.5", ""]),
        ([True, False], ["yes", ""]),
        (["a", None], ["a", ""]),
        (["NA", "null"], ["NA", "null"]),
        (["None", "nan"], ["None", "nan"]),
    ],
)
def test_a_column_has_even_decimals_and_no_text_for_what_is_missing(
    project, study, values, message
):
    file = study / "results" / "tables" / "made_up.csv"
    pd.DataFrame({"name": ["x", "y"], "value": values}).to_csv(file, index=False)
    rows = stage(study / "results", project).tables["made_up"]["rows"]
    assert [row[1] for row in rows] == message


def change(study, group, **values):
    file = study / "results" / "variables" / f"{group}.yml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))


def test_numbers_that_do_not_agree_are_refused(project, study):
    assert check_numbers(stage(study / "results", project)) == []
    change(study, "population", n_train="9,999", n_female="1", fingerprint="another")
    change(study, "study", n_runs="37", n_experiments="2")
    assert check_numbers(stage(study / "results", project)) == [
        "training, validation and test hands, and all hands: 12610 is not 12611",
        "girls and boys, and all hands: 6834 is not 12611",
        "fingerprint of the data: another is not 0123456789ab",
        "rows of the table of runs, and runs: 40 is not 37",
        "experiments in the table of runs, and experiments: 40 is not 2",
    ]


@pytest.fixture
def published(study):
    """Results without their data and radiographs, and a study on phantoms beside them."""
    results = study / "results" / "mine"
    results.mkdir()
    for kind in ("figures", "tables", "variables"):
        (study / "results" / kind).rename(results / kind)
    shutil.copytree(results, study / "results" / "demo")
    for sidecar in (study / "results" / "demo" / "figures").glob("*.json"):
        sidecar.write_text(sidecar.read_text().replace("MADE UP FOR A TEST", "PHANTOMS"))
    for picture in (results / "figures").glob("*.png"):
        picture.unlink()
    (results / "published.json").write_text("{}")
    (study / MADE_FROM[0]).unlink()
    return results


def test_published_results_need_no_runs_and_show_phantoms_in_place_of_radiographs(
    project, study, published
):
    staged = stage(published, project)
    outline = read_outline(project / "slides.qmd")
    assert check_source(outline, staged, project, study) == []
    assert staged.figures["raw_grid"]["tier"].startswith("PHANTOMS")
    assert staged.figures["raw_grid"]["caption"].startswith("Synthetic hands in place of")
    assert staged.figures["ages_by_sex"]["tier"].startswith("MADE UP")
    assert (project / "figures" / "raw_grid.png").is_file()


def test_what_a_network_answered_has_no_stand_in(project, study, published):
    staged = stage(published, project)
    assert not staged.figures.keys() & {"worst_cases", "saliency_age", "saliency_sex"}
    # Its title says how far apart the study's own images are.
    assert "extremes" not in staged.figures
    assert "Saliency for age" in read_outline(project / "slides.qmd").left_out


def test_published_results_leave_phantoms_out_where_none_are_wanted(project, published):
    assert "raw_grid" not in stage(published, project, stand_ins=False).figures


def test_published_results_without_phantoms_beside_them_leave_those_slides_out(
    project, study, published
):
    shutil.rmtree(study / "results" / "demo")
    stage(published, project)
    assert "Raw images" in read_outline(project / "slides.qmd").left_out


def test_a_published_figure_is_still_compared_with_what_is_published_beside_it(
    project, study, published
):
    record = published / "runs" / "resnet18" / "seed-0" / "history.csv"
    record.parent.mkdir(parents=True)
    record.write_text("epoch\n1\n")
    sidecar = published / "figures" / "ages_by_sex.json"
    shown = json.loads(sidecar.read_text())
    # The project's own files go on changing after a study is published.
    code = study / "h2a_lib" / "models" / "networks.py"
    code.parent.mkdir(parents=True)
    code.write_text("changed since")
    shown["inputs"] = dict.fromkeys(
        ("runs/mine/resnet18/seed-0/history.csv", "h2a_lib/models/networks.py"), "0" * 64
    )
    sidecar.write_text(json.dumps(shown))
    staged = stage(published, project)
    (result,) = check_source(read_outline(project / "slides.qmd"), staged, project, study)
    assert "older than results/mine/runs/resnet18/seed-0/history.csv" in result


def test_a_power_of_ten_is_written_as_one(project, study):
    change(study, "range_test", suggestion="4.8e-04")
    message = stage(study / "results", project).variables["range_test"]["suggestion"]
    assert message.replace("\N{NO-BREAK SPACE}", " ") == "4.8 × 10⁻⁴"


def test_apostrophes_are_round_but_commands_keep_their_quotes(project, study):
    change(study, "sex", answer="a tie with the age label's, by StepLR's gamma")
    change(study, "study", command="h2a report --data 'my hands'")
    variables = stage(study / "results", project).variables
    assert variables["sex"]["answer"] == "a tie with the age label’s, by StepLR’s gamma"
    assert variables["study"]["command"] == "h2a report --data 'my hands'"


def test_what_stays_on_one_line_in_a_sentence_does_so_in_a_caption(project, study):
    result = stage(study / "results", project).figures["forest"]
    assert "n_=_2,611" in result["caption"].replace("\N{NO-BREAK SPACE}", "_")


def test_a_number_stays_with_its_unit_and_n_with_its_number(project, study):
    message = stage(study / "results", project).variables["runs"]["best_mae"]
    assert message.replace("\N{NO-BREAK SPACE}", "_") == "6.1_months (95_%_CI 5.7–6.6, n_=_2,611)"


def test_a_range_that_is_written_with_to_stays_on_one_line(project, study):
    change(study, "age", limits="from −15.1 to −14.2 months, 1 to 3", floor="up to 3 of 10 to all")
    message = stage(study / "results", project).variables["age"]
    limits, floor = (message[key].replace("\N{NO-BREAK SPACE}", "_") for key in ("limits", "floor"))
    assert limits == "from −15.1_to_−14.2_months, 1_to_3"
    assert floor == "up to 3 of 10 to all"
