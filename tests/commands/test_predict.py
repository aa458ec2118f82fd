import json

import cv2
import numpy as np
import pandas as pd
import pytest
from dicoms import content, dicom
from trained import squares_for, trained
from typer.testing import CliRunner

from h2a_lib.analysis import out_of_distribution
from h2a_lib.analysis.statistics import conformal
from h2a_lib.commands import app as cli
from h2a_lib.commands import predict
from h2a_lib.commands.predict import explain, read_hands
from h2a_lib.errors import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("run"), n=90, n_validation=40, task="both", epochs=8)


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


def test_a_file_gets_the_prediction_that_its_hand_got_in_the_run(run, hands, files):
    said = read_hands(files[:40], run)
    of_run = run.predictions.set_index("id").loc[hands.labels["id"][:40]]
    months = [answer.age_months for answer in said.answers]
    assert months == pytest.approx(of_run["predicted_age_months"].tolist(), abs=0.05)
    probability = [answer.male_probability for answer in said.answers]
    assert probability == pytest.approx(of_run["male_probability"].tolist(), abs=1e-3)


def test_answers_do_not_depend_on_the_other_files_of_the_call(run, files):
    together = read_hands(files[:5], run).answers
    alone = [read_hands([file], run).answers[0] for file in files[:5]]
    assert [a.age_months for a in together] == pytest.approx(
        [a.age_months for a in alone], abs=0.02
    )


def test_a_sex_that_would_not_be_used_is_refused(run, files):
    with pytest.raises(UserError, match="has no sex as an input and would not use it"):
        read_hands(files[:1], run, male=True)


def test_a_bad_file_is_named_and_the_others_are_answered(run, files, tmp_path):
    bad = tmp_path / "text.png"
    bad.write_text("not an image")
    said = read_hands([files[0], bad, tmp_path / "missing.png", files[1]], run)
    assert [answer.file for answer in said.answers] == [str(files[0]), str(files[1])]
    assert [refusal.file for refusal in said.refused] == [str(bad), str(tmp_path / "missing.png")]
    assert all(refusal.why for refusal in said.refused)
    assert said.exit_code == 1
    assert read_hands(files[:1], run).exit_code == 0


def test_many_files_are_answered_in_their_order_over_several_batches(run, files, monkeypatch):
    monkeypatch.setattr("h2a_lib.commands.predict.TOGETHER", 7)
    said = read_hands(files, run)
    assert [answer.file for answer in said.answers] == [str(file) for file in files]
    assert len(said.images) == len(files)


def test_the_interval_is_about_the_age_and_covers_validation_hands_as_promised(run, hands, files):
    said = read_hands(files[:40], run).answers
    assert all(a.low_months <= a.age_months <= a.high_months for a in said)
    true = hands.labels["age_months"].to_numpy()[:40]
    inside = [a.low_months <= t <= a.high_months for a, t in zip(said, true, strict=True)]
    assert np.mean(inside) >= 0.9


def test_a_run_with_too_few_validation_hands_promises_no_interval(tmp_path):
    run = trained(tmp_path / "run", n=20, n_validation=6, epochs=1)
    cv2.imwrite(str(tmp_path / "a.png"), squares_for(run.config, 20, 6).images[0])
    (answer,) = read_hands([tmp_path / "a.png"], run).answers
    assert answer.low_months is None and answer.high_months is None
    assert "no interval" in answer.text()
    assert answer.male_probability is None
    json.dumps(answer.as_json(), allow_nan=False)


def test_the_likeness_to_training_is_not_known_until_it_was_learnt(tmp_path, files):
    run = trained(tmp_path, n=60, n_validation=20, epochs=4)
    (answer,) = read_hands(files[:1], run).answers
    assert answer.is_unlike_training is None
    assert "not known" in answer.text()
    out_of_distribution.fit_detector(run, squares_for(run.config))
    strange = tmp_path / "strange.png"
    tiles = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4))) * 255
    cv2.imwrite(str(strange), tiles.astype(np.uint8))
    like, unlike = read_hands([files[0], strange], run).answers
    assert read_hands(files[:9], run).together is None
    alike = read_hands(files[:20], run)
    assert not alike.together.is_unlike_training
    assert alike.lines()[-1].startswith("Together the 20 files look like the training hands")
    others = read_hands([strange] * 10, run)
    assert others.together.is_unlike_training
    assert others.as_json()["together"]["n"] == 10
    assert like.is_unlike_training is False
    assert unlike.is_unlike_training is True
    assert "LOOKS UNLIKE" in unlike.text()


def test_readings_become_json_with_years_and_the_notice(run, files):
    said = json.loads(json.dumps(read_hands(files[:1], run).as_json(), allow_nan=False))
    (answer,) = said["answers"]
    assert answer["age_years"] == pytest.approx(answer["age_months"] / 12, abs=0.01)
    assert answer["notice"] == "Research, not for diagnosis."
    assert answer["sex"] in ("male", "female")
    assert said["refused"] == []


def test_a_run_that_needs_the_sex_says_so(tmp_path, files):
    run = trained(tmp_path, n=20, n_validation=10, epochs=1, sex_input=True)
    with pytest.raises(UserError, match="--sex male or --sex female"):
        read_hands(files[:1], run)
    ages = [read_hands(files[:1], run, male=m).answers[0].age_months for m in (True, False)]
    assert ages[0] != ages[1]


def test_the_explanation_is_a_picture_of_every_hand(run, files, tmp_path):
    said = read_hands(files[:5], run)
    assert explain(said, run, tmp_path / "new" / "out.png") == 5
    picture = cv2.imread(str(tmp_path / "new" / "out.png"))
    assert picture.std() > 10


def test_an_explanation_of_nothing_is_refused(run, tmp_path):
    nothing = read_hands([tmp_path / "missing.png"], run)
    with pytest.raises(UserError, match="no file could be read"):
        explain(nothing, run, tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


# --- as typed ------------------------------------------------------------------------------------


def typed(*words):
    return CliRunner().invoke(cli.app, ["predict", *map(str, words)])


@pytest.fixture
def dicom_file(tmp_path, hands):
    whole = content(dicom(hands.images[0].astype(np.uint16) * 16))
    (tmp_path / "hand.dcm").write_bytes(whole)
    return tmp_path / "hand.dcm"


def test_many_files_of_several_formats_are_answered_in_one_call(run, files, dicom_file):
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


def test_a_bad_file_ends_in_exit_code_1_with_the_others_answered(run, files, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    done = typed(tmp_path / "text.png", files[0], tmp_path, "--json", "--run", run.folder)
    said = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [answer["file"] for answer in said["answers"]] == [str(files[0])]
    assert [refusal["file"] for refusal in said["refused"]] == [
        str(tmp_path / "text.png"), str(tmp_path),
    ]  # fmt: skip


def test_the_explanation_is_drawn_beside_the_answers(run, files, tmp_path):
    done = typed(files[0], files[1], "--explain", tmp_path / "out.png", "--run", run.folder)
    assert done.exit_code == 0
    assert cv2.imread(str(tmp_path / "out.png")).shape[2] == 3


def test_a_folder_that_is_no_run_is_a_users_mistake(files, tmp_path):
    done = typed(files[0], "--run", tmp_path)
    assert isinstance(done.exception, UserError)
    assert "not a finished run" in str(done.exception)


def test_no_age_is_negative_and_every_interval_holds_its_estimate():
    selection = pd.DataFrame(
        {"age_months": np.linspace(5, 220, 90), "predicted_age_months": np.linspace(25, 200, 90)}
    )
    months = np.array([-20.7, 0.0, 90.0, 260.0])
    quantiles = {conformal.LOW: months + 50, conformal.HIGH: months + 60}
    for fitted in (conformal.SplitConformal.fit(selection), conformal.ConformalQuantiles(1.0)):
        predicted = {"predicted_age_months": months} | quantiles
        estimates, low, high = predict._ages(fitted, predicted)
        assert estimates.tolist() == [0, 0, 90, 260]
        assert (low >= 0).all() and (low <= estimates).all() and (estimates <= high).all()
