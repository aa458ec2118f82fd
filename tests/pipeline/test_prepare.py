"""How the user says that a table is to be read holds for the study from then on."""

import shutil

import pytest
from checkout import ROOT
from data_folders import write_set

from h2a_lib.data import sources
from h2a_lib.data.labels import TableFormat
from h2a_lib.errors import UserError
from h2a_lib.files import read_csv
from h2a_lib.pipeline import prepare
from h2a_lib.report.study_variables import report_command
from h2a_lib.study import workspace
from h2a_lib.study.config import Phantoms

IDS = [str(k) for k in range(100, 150)]
TABLE = "boneage-training-dataset.csv"


@pytest.fixture
def study(tmp_path):
    """Return a study of fifty hands, whose ages are years."""
    shutil.copy(ROOT / "study.yaml", tmp_path)
    data = write_set(tmp_path / "hands", IDS)
    rows = "".join(f"{key},{k % 18},{'MF'[k % 2]}\n" for k, key in enumerate(IDS))
    (data / TABLE).write_text(f"Patient #,age,Who's a boy?\n{rows}")
    study = workspace.locate("smoke", data, root=tmp_path)
    study.config.profile("smoke").experiments[:] = ["resnet18"]
    return study


COLUMNS = '''id="Patient #",age_months=age,sex="Who's a boy?"'''


def test_a_table_format_is_used_remembered_and_printed(study, capsys):
    with pytest.raises(UserError):
        prepare.prepare_data(study)
    prepare.prepare_data(study, form=TableFormat.parse(COLUMNS, "years"))
    assert study.labels["age_months"].max() == 17 * 12
    assert "as before" not in capsys.readouterr().err

    prepare.prepare_data(study)
    assert read_csv(study.labels_file)["age_months"].max() == 17 * 12
    (line,) = (x for x in capsys.readouterr().err.splitlines() if "as before" in x)
    assert "--age-unit years" in line and prepare.FORMAT_FILE in line

    prepare.prepare_data(study, form=TableFormat.parse(COLUMNS, "months"))
    assert read_csv(study.labels_file)["age_months"].max() == 17
    assert prepare.remembered_format(study).age_unit == "months"


def test_a_format_that_does_not_fit_is_not_remembered(study):
    with pytest.raises(UserError):
        prepare.prepare_data(study, form=TableFormat.parse("id=Nobody"))
    assert prepare.remembered_format(study) == TableFormat()


def test_the_command_that_reproduces_the_report_has_the_format(study):
    assert "--columns" not in report_command(study)
    form = TableFormat.parse(COLUMNS, "years")
    prepare.prepare_data(study, form=form)
    command = report_command(study)
    assert "--age-unit years" in command and "--columns" in command


@pytest.mark.parametrize(
    "columns", ["id=A,sex=B", 'id="A, B",age_years="Age (years)"', COLUMNS, "id=日付"]
)
def test_the_options_of_a_format_give_it_again(columns):
    form = TableFormat.parse(columns, "years")
    words = dict(zip(form.options[::2], form.options[1::2], strict=True))
    assert TableFormat.parse(words["--columns"], words["--age-unit"]) == form
    assert TableFormat().options == []


def test_a_profile_with_other_phantoms_draws_them_anew(tmp_path):
    folder = tmp_path / "hands"
    for n in (10, 11):
        prepare._draw_phantoms(folder, Phantoms(n=n, seed=0, height_px=96))
        assert len(list((folder / "boneage-training-dataset").iterdir())) == n


@pytest.mark.parametrize("n", range(2, 41))
def test_data_are_prepared_from_22_hands_on(tmp_path, n):
    shutil.copy(ROOT / "study.yaml", tmp_path)
    study = workspace.locate("smoke", write_set(tmp_path / "hands", IDS[:n]), root=tmp_path)
    study.config.profile("smoke").experiments[:] = ["resnet18"]
    if n < 22:
        with pytest.raises(UserError, match=r"too few hands in .* 22 hands"):
            prepare.prepare_data(study)
        assert not study.is_prepared
    else:
        prepare.prepare_data(study)
        counts = study.labels["split"].value_counts()
        assert all(counts[split] >= least for split, least in sources.LEAST_HANDS.items())
