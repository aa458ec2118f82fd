"""External hands are evaluated, choose nothing, and are none of the study's own."""

import csv
import shutil

import cv2
import pandas as pd
import pytest
import yaml
from checkout import ROOT
from data_folders import write_set
from trained import squares_for, trained

from h2a_lib.analysis.age import external
from h2a_lib.analysis.selection import validation
from h2a_lib.errors import UserError
from h2a_lib.figures import age as draw
from h2a_lib.files import read_json
from h2a_lib.pipeline import prepare
from h2a_lib.study import workspace

IDS = [str(k) for k in range(100, 150)]
PLANTED_BIAS_MONTHS = 20


@pytest.fixture
def study(tmp_path):
    """Return a study whose profile names a folder of external hands, which is not there yet."""
    study_file = yaml.safe_load((ROOT / "study.yaml").read_text())
    profile = study_file["profiles"]["smoke"]
    del profile["phantoms"]
    profile |= {"data": "hands", "external": "elsewhere", "experiments": ["resnet18"]}
    profile["more_seeds"] = {}
    profile["settings_of"] = {}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study_file))
    write_set(tmp_path / "hands", IDS)
    return workspace.locate("smoke", root=tmp_path)


def put_elsewhere(study, hands, shift: float = 0.0) -> None:
    """Write hands to that folder, their labels shifted by some months."""
    folder = study.root / "elsewhere"
    (folder / "images").mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "boneage", "male"])
        for image, hand in zip(hands.images, hands.labels.itertuples(), strict=True):
            cv2.imwrite(str(folder / "images" / f"{hand.id}.png"), image)
            table.writerow([hand.id, hand.age_months + shift, hand.male])


def test_without_the_folder_there_is_nothing_to_evaluate(study, tmp_path):
    prepare.prepare_data(study)
    run = trained(tmp_path / "run", epochs=1)
    assert external.predict_external(study, run, 0.9) is None
    assert external.variables(None, validation(run), 0.9) == {}
    assert draw.external(None, validation(run), 0.9) is None
    assert "external" not in study.data


def test_a_planted_bias_is_found(study, tmp_path):
    run = trained(tmp_path / "run", n=90, n_validation=40, epochs=8, width=0.5)
    put_elsewhere(study, squares_for(run.config, 90, 40), shift=PLANTED_BIAS_MONTHS)
    prepare.prepare_data(study)
    frame = external.predict_external(study, run, 0.9)
    own = validation(run)
    bias = (frame["predicted_age_months"] - frame["age_months"]).mean()
    own_bias = (own["predicted_age_months"] - own["age_months"]).mean()
    assert bias - own_bias == pytest.approx(-PLANTED_BIAS_MONTHS, abs=5)
    text = external.sentence(frame, own, 0.9)
    assert f"n = {len(frame):,}" in text and "on the validation hands" in text
    drawing = draw.external(frame, own, 0.9)
    assert drawing.finding == text
    values = external.variables(frame, own, 0.9)
    assert values["external_sentence"] == text
    assert values["external_verdict"].startswith("External images: ")
    assert "not recorded" in values["external_source"]


def test_a_text_beside_the_folder_says_where_external_hands_come_from(study):
    assert study.external_source == ("External images", "")
    (study.root / "elsewhere").mkdir()
    (study.root / "elsewhere.txt").write_text("Re-cropped images\n\nCut out anew,\nby others.\n")
    source = study.external_source
    assert source == ("Re-cropped images", "Cut out anew, by others.")
    frame = pd.DataFrame({"age_months": [10.0] * 9, "predicted_age_months": 12.0, "covered": True})
    frame = frame.assign(half_width_months=5.0)
    values = external.variables(frame, frame, 0.9, source)
    assert values["external_verdict"] == (
        "Re-cropped images: MAE 2.0 months, against 2.0 in validation"
    )
    assert values["external_source"] == source[1]


def test_only_the_notebook_that_shows_it_depends_on_it(study):
    from h2a_lib.pipeline.steps import Steps

    prepare.prepare_data(study)
    before = {name: step.settings for name, step in Steps(study).by_name.items()}
    shutil.copytree(study.root / "hands", study.root / "elsewhere")
    for file in (study.root / "elsewhere").rglob("*.png"):
        cv2.imwrite(str(file), 255 - cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    prepare.prepare_data(study)
    assert read_json(study.data_file)["external"]
    after = {name: step.settings for name, step in Steps(study).by_name.items()}
    assert [name for name in before if before[name] != after[name]] == ["age_answer"]


def test_an_image_of_the_study_is_refused_among_those_of_another_source(study):
    shutil.copytree(study.root / "hands", study.root / "elsewhere")
    with pytest.raises(UserError, match=r"is the image .* of the study: take it out"):
        prepare.prepare_data(study)
    assert not study.external_file.exists()
