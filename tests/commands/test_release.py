"""A release: a network to be passed on, without the rows of single children."""

import csv
import json

import cv2
import numpy as np
import onnxruntime
import pytest
from trained import squares_for, trained
from typer.testing import CliRunner

from h2a_lib.analysis import out_of_distribution
from h2a_lib.analysis.calibration import Calibration
from h2a_lib.analysis.prediction import predict_files
from h2a_lib.commands import app as cli
from h2a_lib.commands.export import export, release
from h2a_lib.errors import UserError
from h2a_lib.study import runs

TERMS = "For non-commercial use."


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run = trained(folder, n=90, n_validation=40, task="both", epochs=6, width=1.0)
    out_of_distribution.fit_detector(run, squares_for(run.config, 90, 40))
    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory, run):
    """Return images of the 40 validation hands, beside the labels of all but one."""
    folder = tmp_path_factory.mktemp("files")
    hands = squares_for(run.config, 90, 40)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "boneage", "male"])
        for i, hand in enumerate(hands.labels[:40].itertuples()):
            cv2.imwrite(str(folder / f"{hand.id}.png"), hands.images[i])
            if i:
                table.writerow([hand.id, hand.age_months, hand.male])
    return folder


@pytest.fixture(scope="module")
def released(run, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("released") / "hands"
    labelled = tmp_path_factory.mktemp("external")
    for file in sorted(files.glob("*.png"))[1:13]:
        (labelled / "images").mkdir(exist_ok=True)
        (labelled / "images" / file.name).write_bytes(file.read_bytes())
    rows = (files / "labels.csv").read_text().splitlines()
    kept = {path.stem for path in (labelled / "images").iterdir()}
    lines = [rows[0], *(row for row in rows[1:] if row.split(",")[0] in kept)]
    (labelled / "labels.csv").write_text("\n".join(lines))
    return runs.load(release(run, out, TERMS, labelled, "From the same set.", "Tuned on them."))


def test_a_release_predicts_what_its_run_predicts_from_half_the_bytes(run, released, files):
    images = sorted(files.glob("*.png"))
    of_run, of_release = (predict_files(images, one).predictions for one in (run, released))
    for name in ("age_months", "low_months", "high_months"):
        expected = [getattr(one, name) for one in of_run]
        assert [getattr(one, name) for one in of_release] == pytest.approx(expected, abs=0.5)
    probabilities = [one.male_probability for one in of_run]
    assert [p.male_probability for p in of_release] == pytest.approx(probabilities, abs=0.01)
    distances = [one.distance for one in of_run]
    assert [one.distance for one in of_release] == pytest.approx(distances, rel=0.05)
    size, before = ((one.folder / runs.WEIGHTS).stat().st_size for one in (released, run))
    assert size < 0.55 * before


def test_a_release_holds_no_row_of_any_child(run, released):
    ids = set(run.predictions["id"]) | set(run.predictions_train["id"])
    names = {file.name for file in released.folder.iterdir()}
    assert names == {*runs.RELEASED_FILES, "README.md", runs.WEIGHTS, out_of_distribution.NAME}
    for file in released.folder.iterdir():
        assert file.stat().st_mode & 0o044 == 0o044, "others can read it"
        if file.suffix in (".json", ".yaml", ".md"):
            words = set(file.read_text().replace('"', " ").replace(",", " ").split())
            assert not ids & words, file.name


def test_its_card_states_terms_use_and_the_errors_of_hands_from_elsewhere(released):
    card = (released.folder / "README.md").read_text()
    assert f"**made-up squares**. {TERMS} Trained on" in card
    assert "h2a predict hand.png --run path/to/hands" in card
    assert "## Age, additional images" in card and "## Sex, additional images" in card
    assert "12 (few)" in card
    assert "## Additional images\n\nFrom the same set." in card
    assert "optimistic. Tuned on them." in card


@pytest.mark.slow
def test_its_onnx_file_has_its_card_and_its_estimates(released, files, tmp_path):
    model, card = export(released, "onnx", tmp_path / "hand.onnx")
    text = card.read_text()
    assert text.startswith("# hand.onnx") and "onnxruntime.InferenceSession" in text
    assert "h2a predict" not in text and "## Age, additional images" in text
    image = cv2.imread(str(min(files.glob("*.png"))), cv2.IMREAD_GRAYSCALE)
    given = {"images": image[None, None].astype(np.float32)}
    months, male = onnxruntime.InferenceSession(model).run(None, given)
    (one,) = predict_files([min(files.glob("*.png"))], released).predictions
    assert max(months[0], 0) == pytest.approx(one.age_months, abs=0.05)
    assert male[0] == pytest.approx(one.male_probability, abs=1e-3)


def test_predictions_name_the_terms_and_are_scored_by_labels(released, files):
    words = ["predict", str(files), "--run", str(released.folder)]
    done = CliRunner().invoke(cli.app, [*words, "--labels", str(files / "labels.csv")])
    assert TERMS in done.output
    assert "Scored by the labels of 39 of 40 files" in done.output
    frame = predict_files(sorted(files.glob("*.png")), released).predictions
    with (files / "labels.csv").open() as file:
        ages = {row["id"]: float(row["boneage"]) for row in csv.DictReader(file)}
    errors = [
        abs(one.age_months - ages[name])
        for one in frame
        if (name := one.file.rpartition("/")[2][:-4]) in ages
    ]
    assert f"mean absolute error {np.mean(errors):.1f} months" in done.output
    assert "90 % intervals contain" in done.output
    assert "AUC for sex" in done.output


def test_labels_with_headings_of_ones_own_score_alike(released, files, tmp_path):
    words = ["predict", str(files), "--run", str(released.folder), "--labels"]
    plain = CliRunner().invoke(cli.app, [*words, str(files / "labels.csv")])
    with (files / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    own = tmp_path / "own.csv"
    with own.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Patient", "Alter", "Gender"])
        for r in rows:
            writer.writerow([r["id"], float(r["boneage"]) / 12, "FM"[r["male"] == "True"]])
    columns = "id=Patient,age_months=Alter,sex=Gender"
    options = ["--columns", columns, "--age-unit", "years"]
    named = CliRunner().invoke(cli.app, [*words, str(own), *options])
    assert named.output.count("Scored by the labels of 39") == 1
    assert named.output == plain.output


def test_a_table_that_does_not_fit_loses_no_estimate(released, files, tmp_path):
    (tmp_path / "labels.csv").write_text("id,boneage,male\nnobody,120,True\n")
    words = ["predict", str(files), "--run", str(released.folder), "--labels"]
    done = CliRunner().invoke(cli.app, [*words, str(tmp_path / "labels.csv")])
    assert "no label for any of the 40 files" in str(done.exception)
    assert done.output.count("90 % interval") == 40


def test_json_stays_json_when_it_is_scored(released, files):
    words = ["predict", str(files), "--run", str(released.folder), "--json"]
    done = CliRunner().invoke(cli.app, [*words, "--labels", str(files / "labels.csv")])
    answer = json.loads(done.stdout)
    assert len(answer["predictions"]) == 40 and answer["terms"] == TERMS
    assert "Scored by" in done.stderr


def test_each_hand_is_read_with_the_sex_that_its_label_states(tmp_path, files):
    run = trained(tmp_path / "run", n=90, n_validation=40, epochs=2, sex_input=True)
    words = ["predict", str(files), "--run", str(run.folder), "--csv", "--sex"]
    table = str(files / "labels.csv")
    with (files / "labels.csv").open() as file:
        male = {row["id"]: row["male"] == "True" for row in csv.DictReader(file)}
    estimates = {}
    for sex in ("male", "female", "labels"):
        output = CliRunner().invoke(cli.app, [*words, sex, "--labels", table]).stdout
        estimates[sex] = {
            row["file"].rpartition("/")[2][:-4]: row["age_months"]
            for row in csv.DictReader(output.splitlines())
            if row["age_months"]
        }
    assert estimates["labels"] == {
        name: estimates["male" if is_male else "female"][name] for name, is_male in male.items()
    }
    refused = CliRunner().invoke(cli.app, [*words, "labels"])
    assert "name the label table with --labels" in str(refused.exception)


def test_what_is_fitted_is_read_back_as_it_was_written(run, released, tmp_path):
    assert Calibration.of(released) == Calibration.of(run)
    few = trained(tmp_path / "few", n=20, n_validation=6, epochs=1)
    again = runs.load(release(few, tmp_path / "out"))
    assert Calibration.of(again) == Calibration.of(few)
    assert Calibration.of(again).interval.by_true.error_months == (float("inf"),)


def test_a_release_is_not_released_again_and_replaces_nothing_but_a_release(
    run, released, tmp_path
):
    with pytest.raises(UserError, match="is already a release"):
        release(released, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="exists and is not a release"):
        release(run, tmp_path / "full")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"
