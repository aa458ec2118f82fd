import dataclasses
import re
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from trained import squares_for, trained

from h2a_lib.analysis.comparison.hyperparameters import network_table
from h2a_lib.analysis.model_card import _out_of_scope, model_card, usage
from h2a_lib.analysis.prediction import predict_files
from h2a_lib.analysis.saliency.maps import grad_cam
from h2a_lib.analysis.selection import predictions_of
from h2a_lib.analysis.sex import errors as sex
from h2a_lib.analysis.sex.calibration import Temperature
from h2a_lib.commands.export import export, portable
from h2a_lib.data import images as pictures
from h2a_lib.errors import UserError
from h2a_lib.models import networks
from h2a_lib.models.inference import predictor_of
from h2a_lib.study import runs
from h2a_lib.study.config import NETWORKS, Network


@pytest.fixture(
    scope="module", params=["instance", pytest.param("dataset", marks=pytest.mark.slow)]
)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return trained(folder, task="both", epochs=2, pixel_norm=request.param)


@pytest.fixture(scope="module")
def images(run):
    return squares_for(run.config).images


def as_input(images):
    return images[:, None].astype(np.float32)


def calibrated(run, outputs):
    temperature = Temperature.fit(predictions_of(run, "selection"))
    return temperature.apply(outputs["male_probability"])


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export(run, "onnx", tmp_path_factory.mktemp("onnx") / "hand.onnx")


def test_onnx_runtime_gives_the_same_numbers_for_any_number_of_hands(run, images, exported):
    session = onnxruntime.InferenceSession(exported[0])
    assert [o.name for o in session.get_outputs()] == ["age_months", "male_probability"]
    for n in (1, 2, 7):
        months, probability = session.run(None, {"images": as_input(images[:n])})
        expected = predictor_of(run).predict(images[:n])
        assert months == pytest.approx(expected["predicted_age_months"], abs=0.01)
        assert probability == pytest.approx(calibrated(run, expected), abs=1e-4)


def test_the_onnx_file_needs_no_other_file(exported):
    model, card = exported
    assert sorted(model.parent.iterdir()) == sorted([card, model])


def test_the_torch_program_gives_the_same_numbers(run, images, tmp_path):
    model, _ = export(run, "torch", tmp_path / "hand.pt2")
    program = torch.export.load(model).module()
    for n in (1, 5):
        months, probability = program(torch.from_numpy(as_input(images[:n])))
        expected = predictor_of(run).predict(images[:n])
        assert months.detach().numpy() == pytest.approx(expected["predicted_age_months"], abs=0.01)
        assert probability.detach().numpy() == pytest.approx(calibrated(run, expected), abs=1e-4)


@pytest.mark.slow
def test_a_network_with_the_sex_input_takes_it_in_onnx(tmp_path):
    run = trained(tmp_path / "run", n=30, n_validation=10, epochs=1, sex_input=True)
    images = squares_for(run.config, 30, 10).images[:3]
    model, card = export(run, "onnx")
    assert model.parent == run.folder
    male = np.array([1, 0, 1], np.float32)
    (months,) = onnxruntime.InferenceSession(model).run(
        None, {"images": as_input(images), "male": male}
    )
    assert months == pytest.approx(
        predictor_of(run).predict(images, male)["predicted_age_months"], abs=0.01
    )
    assert "`male`" in card.read_text()


def test_the_card_says_what_the_model_is_and_is_not(run):
    card = model_card(run, "hand.onnx")
    assert "Not a medical device" in card
    assert "Data: **made-up squares**. Trained on" in card
    assert "hands; evaluated on" in card
    assert "| all | both | 20 (few) |" in card
    assert "| 0–4 years | female |" in card
    assert "| labelled age | n | male | AUC (95 % CI) | accuracy (95 % CI) |" in card
    assert "| all | 20 (few) |" in card
    assert "geometry" not in card and "centre square" in card
    assert card.index("## Age, validation") < card.index("## Age, selection")
    assert "nan" not in card.lower()


def test_the_card_gives_the_auc_of_the_age_label_on_the_same_hands(run):
    card = model_card(run, "hand.onnx", note="It was tuned on these hands.")
    hands = run.predictions.query("split == 'validation'")
    by_label = sex.by_label(run.predictions_train, hands)
    expected = roc_auc_score(hands["male"], by_label)
    part = card.partition("## Sex, validation")[2]
    value = re.search(r"From the age label alone, the AUC on the same hands is ([\d.]+) ", part)
    assert float(value[1]) == pytest.approx(expected, abs=0.0006)
    assert "optimistic. It was tuned on these hands." in card


@pytest.mark.parametrize(("flip", "words"), [(False, "Right hands (mirror"), (True, "Adults;")])
def test_the_card_excludes_right_hands_unless_mirrored_ones_were_trained_on(run, flip, words):
    augment = {"rotation_degrees": 5, "scale": 0.05, "shift": 0.05, "flip": flip}
    config = run.config.model_copy(update={"augment": SimpleNamespace(**augment)})
    changed = SimpleNamespace(config=config, tier_label="Folder hands")
    assert _out_of_scope(changed).startswith(words)
    assert "a standard other than that of the labels" in _out_of_scope(changed)
    of_rsna = SimpleNamespace(config=config, tier_label="RSNA Pediatric Bone Age radiographs")
    assert "Greulich and Pyle's atlas" in _out_of_scope(of_rsna)


def test_an_unknown_format_is_named_with_the_known_ones(run):
    with pytest.raises(UserError, match="unknown export format 'tflite'; known: onnx, torch"):
        export(run, "tflite")


def test_a_wrong_suffix_is_refused_before_anything_is_written(run, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.onnx"):
        export(run, "onnx", tmp_path / "hand.pt2")
    assert not list(tmp_path.iterdir())


def test_a_self_supervised_run_is_refused_in_one_line(tmp_path):
    augment = {"rotation_degrees": 5, "scale": 0.05, "shift": 0.05, "flip": False}
    run = trained(tmp_path / "run", n=30, n_validation=10, epochs=1, task="ssl", augment=augment)
    for refused in (lambda: export(run, "onnx"), lambda: predict_files([], run)):
        with pytest.raises(UserError, match=r"\(task: ssl\) estimates neither age nor sex"):
            refused()
    assert not list(run.folder.glob("*.onnx"))


def radiograph(folder):
    # Twice the network's side, so that both scale alike: by area, in one step.
    noise = np.random.default_rng(0).integers(0, 256, (80, 64), dtype=np.uint8)
    cv2.imwrite(str(folder / "hand.png"), cv2.GaussianBlur(noise, (0, 0), 3))


@pytest.mark.parametrize("geometry", pictures.GEOMETRIES)
@pytest.mark.parametrize("contrast", ["none", "equalize", "clahe", "stretch"])
def test_the_code_on_the_card_prepares_a_radiograph_as_the_run_does(
    tmp_path, monkeypatch, config, geometry, contrast
):
    radiograph(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = config(geometry=geometry, contrast=contrast)
    *lines, _ = usage(SimpleNamespace(config=settings), "onnx", "hand.onnx").splitlines()
    values: dict = {}
    exec("\n".join(lines), values)
    expected = pictures.prepare(tmp_path / "hand.png", settings.image_size_px, geometry, contrast)
    assert np.abs(values["image"].astype(int) - expected).max() <= 1


def test_the_five_lines_in_the_file_ask_the_model_as_predict_does(
    run, exported, tmp_path, monkeypatch
):
    model, card = exported
    code = onnxruntime.InferenceSession(model).get_modelmeta().custom_metadata_map["usage"]
    assert len(code.splitlines()) == 5
    assert f"```python\n{code}\n```" in card.read_text()
    shutil.copy(model, tmp_path)
    radiograph(tmp_path)
    monkeypatch.chdir(tmp_path)
    values: dict = {}
    exec(code, values)
    (prediction,) = predict_files(["hand.png"], run).predictions
    assert max(0, values["age_months"][0]) == pytest.approx(prediction.age_months, abs=0.5)
    assert values["male_probability"][0] == pytest.approx(prediction.male_probability, abs=0.01)


def test_the_torch_file_carries_its_usage_too(run, tmp_path):
    model, card = export(run, "torch", tmp_path / "hand.pt2")
    extra = {"usage": "", "notice": ""}
    torch.export.load(model, extra_files=extra)
    assert extra["usage"] in card.read_text() and "torch.export.load" in extra["usage"]
    assert extra["notice"] == "Research, not for diagnosis."


def tiny(name, width, stem, pretrained) -> networks.Trunk:
    """Return a trunk of four convolutions."""
    channels = (1, 8, 8, 8, 8)
    strides = (4, 2, 2, 2)
    parts = [
        nn.Sequential(nn.Conv2d(channels[k], channels[k + 1], 3, strides[k], 1), nn.BatchNorm2d(8))
        for k in range(4)
    ]
    module = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return networks.Trunk(module, 8, ("0.0",), ("0", "1", "2", "3"))


@pytest.mark.slow
def test_a_network_that_is_added_is_listed_trained_exported_and_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(networks.TRUNKS, "tiny", tiny)
    monkeypatch.setitem(NETWORKS, "tiny", Network("Tiny"))
    test_every_network_is_trained_exported_and_explained(tmp_path, "tiny")
    table = network_table([runs.load(tmp_path / "run")]).set_index("network")
    assert table.loc["Tiny", "layers"] == 5  # with the head


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_trained_exported_and_explained(tmp_path, network):
    run = trained(tmp_path / "run", n=24, n_validation=8, epochs=1, network=network, width=1.0)
    images = squares_for(run.config, 24, 8).images[:3]
    model, card = export(run, "onnx")
    (months,) = onnxruntime.InferenceSession(model).run(None, {"images": as_input(images)})
    predictor = predictor_of(run)
    expected = np.maximum(predictor.predict(images)["predicted_age_months"], 0)
    assert months == pytest.approx(expected, abs=0.05)
    assert network in card.read_text()
    maps = grad_cam(predictor.network, predictor.normalise(images), "age")
    assert maps.shape[0] == 3 and np.isfinite(np.asarray(maps)).all()


def test_no_exported_age_is_negative(run, images, monkeypatch):
    predictor = predictor_of(run)
    younger = dataclasses.replace(predictor.scales, age_mean_months=-500.0)
    monkeypatch.setattr(predictor, "scales", younger)
    months, _ = portable(run)(torch.from_numpy(as_input(images[:3])))
    assert months.tolist() == [0, 0, 0]
