import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from dicoms import content, dicom
from trained import squares_for, trained
from typer.testing import CliRunner

from h2a_lib.analysis import out_of_distribution
from h2a_lib.analysis.prediction import Prediction, predict_files
from h2a_lib.analysis.selection import predictions_of
from h2a_lib.analysis.sex.calibration import Temperature
from h2a_lib.commands import app as cli
from h2a_lib.commands.predict import draw_explanation
from h2a_lib.errors import UserError
from h2a_lib.models.inference import Predictor


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(
        tmp_path_factory.mktemp("run"), n=90, n_validation=40, task="both", epochs=8, width=0.5
    )


@pytest.fixture(scope="module")
def hands(run):
    return squares_for(run.config, 90, 40)


@pytest.fixture(scope="module")
def files(tmp_path_factory, hands):
    folder = tmp_path_factory.mktemp("files")
    names = []
    for name, image in zip(hands.labels["id"], hands.images, strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), image)
        names.append(folder / f"{name}.png")
    return names


def test_a_file_gets_the_prediction_its_hand_got_in_the_run(run, hands, files):
    done = predict_files(files[:40], run)
    temperature = Temperature.fit(predictions_of(run, "selection"))
    assert temperature.value != 1
    calibrated = temperature.calibrate(run.predictions)
    of_run = calibrated.set_index("id").loc[hands.labels["id"][:40]]
    months = [prediction.age_months for prediction in done.predictions]
    assert months == pytest.approx(of_run["predicted_age_months"].clip(lower=0).tolist(), abs=0.05)
    probability = [prediction.male_probability for prediction in done.predictions]
    assert probability == pytest.approx(of_run["male_probability"].tolist(), abs=1e-3)


def test_predictions_do_not_depend_on_the_other_files_of_the_call(run, files):
    together = predict_files(files[:5], run).predictions
    alone = [predict_files([file], run).predictions[0] for file in files[:5]]
    assert [a.age_months for a in together] == pytest.approx(
        [a.age_months for a in alone], abs=0.02
    )


def test_a_sex_that_would_not_be_used_is_refused(run, files):
    with pytest.raises(UserError, match="has no sex input: leave out --sex"):
        predict_files(files[:1], run, male=True)


def test_a_bad_file_is_named_and_the_others_are_predicted(run, files, tmp_path):
    bad = tmp_path / "text.png"
    bad.write_text("not an image")
    done = predict_files([files[0], bad, tmp_path / "missing.png", files[1]], run)
    assert [prediction.file for prediction in done.predictions] == [str(files[0]), str(files[1])]
    assert [file.file for file in done.unreadable] == [str(bad), str(tmp_path / "missing.png")]
    assert all(file.reason for file in done.unreadable)
    assert done.exit_code == 1
    assert predict_files(files[:1], run).exit_code == 0


def test_many_files_are_predicted_in_order_over_several_batches(run, files, monkeypatch):
    monkeypatch.setattr("h2a_lib.analysis.prediction.BATCH_SIZE", 7)
    done = predict_files(files, run)
    assert [prediction.file for prediction in done.predictions] == [str(file) for file in files]
    assert len(done.images) == len(files)


def test_the_interval_is_about_the_age_and_covers_validation_hands_as_promised(run, hands, files):
    done = predict_files(files[:40], run).predictions
    assert all(a.low_months <= a.age_months <= a.high_months for a in done)
    true = hands.labels["age_months"].to_numpy()[:40]
    inside = [a.low_months <= t <= a.high_months for a, t in zip(done, true, strict=True)]
    # Of 40 hands, 32 and more in 49 of 50 draws.
    assert np.mean(inside) >= 0.8


def test_a_run_with_too_few_validation_hands_promises_no_interval(tmp_path):
    run = trained(tmp_path / "run", n=20, n_validation=6, epochs=1)
    cv2.imwrite(str(tmp_path / "a.png"), squares_for(run.config, 20, 6).images[0])
    (prediction,) = predict_files([tmp_path / "a.png"], run).predictions
    assert prediction.low_months is None and prediction.high_months is None
    assert "no interval" in prediction.text()
    assert prediction.male_probability is None
    json.dumps(prediction.as_json(), allow_nan=False)


def test_what_differs_from_the_training_hands_is_flagged_once_they_were_described(tmp_path, files):
    run = trained(tmp_path, n=60, n_validation=20, epochs=4)
    (prediction,) = predict_files(files[:1], run).predictions
    assert prediction.out_of_distribution is None
    assert "not checked" in prediction.text()
    out_of_distribution.fit_detector(run, squares_for(run.config))
    strange = tmp_path / "strange.png"
    tiles = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4))) * 255
    cv2.imwrite(str(strange), tiles.astype(np.uint8))
    like, different = predict_files([files[0], strange], run).predictions
    assert predict_files(files[:9], run).comparison is None
    alike = predict_files(files[:20], run)
    assert not alike.comparison.out_of_distribution
    assert alike.lines()[-1].startswith("As a set, the 20 files are like the training hands")
    others = predict_files([strange] * 10, run)
    assert others.comparison.out_of_distribution
    assert others.as_json(run)["set"]["n"] == 10
    assert like.out_of_distribution is False
    assert different.out_of_distribution is True
    assert "OUT OF DISTRIBUTION" in different.text()


def test_predictions_become_json_with_years_and_the_notice(run, files):
    done = json.loads(json.dumps(predict_files(files[:1], run).as_json(run), allow_nan=False))
    (prediction,) = done["predictions"]
    assert prediction["age_years"] == pytest.approx(prediction["age_months"] / 12, abs=0.01)
    assert prediction["notice"] == "Research, not for diagnosis."
    assert prediction["sex"] in ("male", "female")
    assert done["unreadable"] == []


def test_the_sex_is_given_with_the_threshold_that_decides_it():
    line = Prediction("a.png", male_probability=0.59, sex="female", sex_threshold=0.644).text()
    assert "female (probability of male 0.59, threshold 0.64)" in line


def test_every_prediction_agrees_with_its_threshold(run, files):
    for prediction in predict_files(files[:10], run).predictions:
        is_male = prediction.male_probability >= prediction.sex_threshold
        assert prediction.sex == ("male" if is_male else "female")


def test_a_run_that_needs_the_sex_says_so(tmp_path, files):
    run = trained(tmp_path, n=30, n_validation=10, epochs=1, sex_input=True)
    with pytest.raises(UserError, match="--sex male or --sex female"):
        predict_files(files[:1], run)
    ages = [predict_files(files[:1], run, male=m).predictions[0].age_months for m in (True, False)]
    assert ages[0] != ages[1]


def test_the_explanation_is_a_picture_of_every_hand(run, files, tmp_path):
    done = predict_files(files[:5], run)
    assert draw_explanation(done, run, tmp_path / "out.png") == 5
    picture = cv2.imread(str(tmp_path / "out.png"))
    assert picture.std() > 10


def test_an_explanation_of_nothing_is_refused(run, tmp_path):
    nothing = predict_files([tmp_path / "missing.png"], run)
    with pytest.raises(UserError, match="no file could be read"):
        draw_explanation(nothing, run, tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


# --- as typed ------------------------------------------------------------------------------------


def typed(*words):
    return CliRunner().invoke(cli.app, ["predict", *map(str, words)])


@pytest.fixture
def dicom_file(tmp_path, hands):
    whole = content(dicom(hands.images[0].astype(np.uint16) * 16))
    (tmp_path / "hand.dcm").write_bytes(whole)
    return tmp_path / "hand.dcm"


def test_files_of_several_formats_are_predicted_in_one_call(run, files, dicom_file):
    done = typed(dicom_file, files[0], files[1], "--run", run.folder)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines[:3]] == [
        str(file) for file in (dicom_file, files[0], files[1])
    ]
    # The same hand as PNG and as 12 bits of DICOM.
    ages = [float(line.split(": ")[1].split(" months")[0]) for line in lines[:2]]
    assert ages[0] == pytest.approx(ages[1], abs=3)
    assert lines[3] == "Trained on: made-up squares. Research, not for diagnosis."


def test_a_bad_file_ends_in_exit_code_1_with_the_others_predicted(run, files, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty").mkdir()
    empty = tmp_path / "empty"
    done = typed(tmp_path / "text.png", files[0], empty, "--json", "--run", run.folder)
    assert done.exit_code == 1
    done = json.loads(done.stdout)
    assert [prediction["file"] for prediction in done["predictions"]] == [str(files[0])]
    assert [file["file"] for file in done["unreadable"]] == [
        str(tmp_path / "text.png"), str(empty),
    ]  # fmt: skip


def test_the_explanation_is_drawn_beside_the_answers(run, files, tmp_path):
    done = typed(files[0], files[1], "--explain", tmp_path / "out.png", "--run", run.folder)
    assert done.exit_code == 0
    assert cv2.imread(str(tmp_path / "out.png")).shape[2] == 3


def test_a_folder_that_is_no_run_is_a_users_mistake(files, tmp_path):
    done = typed(files[0], "--run", tmp_path)
    assert isinstance(done.exception, UserError)
    assert "not a finished run" in str(done.exception)


def test_a_folder_stands_for_the_radiographs_in_it(run, files, tmp_path):
    for file in files[:3]:
        shutil.copy(file, tmp_path)
    (tmp_path / "notes.txt").write_text("not a radiograph")
    done = typed(tmp_path, "--csv", "--run", run.folder)
    assert done.exit_code == 0
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [Path(row["file"]).name for row in rows] == sorted(file.name for file in files[:3])
    assert all(float(row["low_months"]) <= float(row["age_months"]) for row in rows)


def test_csv_has_a_row_for_what_could_not_be_read(run, files, tmp_path):
    done = typed(files[0], tmp_path / "missing.png", "--csv", "--run", run.folder)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert done.exit_code == 1
    assert rows[0]["unreadable"] == "" and rows[0]["sex"] in ("male", "female")
    assert rows[1]["unreadable"] and rows[1]["age_months"] == ""


def test_json_names_the_run_and_the_data_it_was_trained_on(run, files):
    done = json.loads(typed(files[0], "--json", "--run", run.folder).stdout)
    assert (done["run"], done["trained_on"]) == (run.name, "made-up squares")


@pytest.mark.parametrize("name", ["a$b$.png", "x_[bold]0.png", "$\\frac{$.png"])
def test_a_name_is_shown_as_it_is_and_never_parsed(run, files, tmp_path, name):
    shutil.copy(files[0], tmp_path / name)
    done = typed(tmp_path / name, "--explain", tmp_path / "out.png", "--run", run.folder)
    assert done.exit_code == 0, done.exception
    assert done.stdout.startswith(f"{tmp_path / name}: ")
    assert (tmp_path / "out.png").is_file()


def test_the_explanation_says_where_it_is_and_makes_no_folder(run, files, tmp_path):
    done = typed(files[0], "--explain", tmp_path / "out.png", "--run", run.folder)
    assert str(tmp_path / "out.png") in done.stderr
    done = typed(files[0], "--explain", tmp_path / "new" / "out.png", "--run", run.folder)
    assert "the folder" in str(done.exception) and "does not exist" in str(done.exception)
    assert not (tmp_path / "new").exists()


def test_the_folder_of_an_experiment_is_answered_with_its_seed(run, files, tmp_path):
    shutil.copytree(run.folder, tmp_path / "best" / "seed-0")
    done = typed(files[0], "--run", tmp_path / "best")
    assert isinstance(done.exception, UserError)
    assert f"did you mean {tmp_path / 'best' / 'seed-0'}?" in str(done.exception)


def test_no_age_is_negative_and_each_lies_in_its_interval(run, files, monkeypatch):
    predict = Predictor.predict
    monkeypatch.setattr(
        Predictor,
        "predict",
        lambda self, images, male=None, batch_size=256: (
            predict(self, images, male, batch_size)
            | {
                "predicted_age_months": np.full(len(images), -20.7, np.float32),
                "male_probability": np.full(len(images), 0.5, np.float32),
            }
        ),
    )
    (prediction,) = predict_files(files[:1], run).predictions
    assert prediction.age_months == 0
    assert prediction.low_months <= prediction.age_months <= prediction.high_months


def test_a_folder_is_searched_as_the_data_folder_of_a_study_is(run, files, hands, tmp_path):
    """Its own layout, DICOM without a suffix, and what macOS leaves."""
    whole = content(dicom(hands.images[0].astype(np.uint16) * 16))
    own, flat, empty = (tmp_path / name for name in ("own", "flat", "empty"))
    (own / "images" / "more").mkdir(parents=True)
    shutil.copy(files[0], own / "images" / "more" / "1.png")
    flat.mkdir()
    (flat / "IM000001").write_bytes(whole)
    (flat / "IM000002").write_bytes(whole[132:])
    (flat / "._1.png").write_bytes(b"macOS")
    (empty / ".git").mkdir(parents=True)
    done = predict_files([own, flat, empty], run)
    assert [Path(one.file).relative_to(tmp_path).as_posix() for one in done.predictions] == [
        "own/images/more/1.png", "flat/IM000001", "flat/IM000002",
    ]  # fmt: skip
    (unread,) = done.unreadable
    assert (unread.file, unread.reason) == (str(empty), "no radiographs in this folder")


@pytest.mark.parametrize(
    ("age", "low", "high", "interval"),
    [(12.6, 12.6, 40.2, "12 to 41"), (40.4, 0.2, 40.4, "0 to 41"), (12, 12, 14, "12 to 14")],
)
def test_the_interval_in_words_contains_the_age(age, low, high, interval):
    text = Prediction("x", age, low, high, 0.9).text()
    assert text.startswith(f"x: {age:.1f} months") and f"90 % interval {interval};" in text


def test_labels_that_look_like_years_are_warned_of(run, files, tmp_path):
    rows = [f"{file.stem},{k % 18},{'MF'[k % 2]}\n" for k, file in enumerate(files[:60])]
    (tmp_path / "labels.csv").write_text(f"id,boneage,sex\n{''.join(rows)}")
    words = (files[0], "--run", run.folder, "--labels", tmp_path / "labels.csv")
    assert "or say --age-unit years" in typed(*words).stderr
    assert "--age-unit" not in typed(*words, "--age-unit", "years").stderr
