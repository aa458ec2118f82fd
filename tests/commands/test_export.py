import numpy as np
import onnxruntime
import pytest
import torch
from trained import squares_for, trained

from h2a_lib.commands.export import export, model_card
from h2a_lib.errors import UserError
from h2a_lib.models.inference import predictor_of

TIER = "Synthetic radiographs (phantoms), not patients"


@pytest.fixture(scope="module", params=["instance", "dataset"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return trained(folder, task="both", epochs=2, pixel_norm=request.param)


@pytest.fixture(scope="module")
def images(run):
    return squares_for(run.config).images


def as_input(images):
    return images[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export(run, "onnx", TIER, tmp_path_factory.mktemp("onnx") / "hand.onnx")


def test_onnx_runtime_gives_the_same_numbers_for_any_number_of_hands(run, images, exported):
    session = onnxruntime.InferenceSession(exported[0])
    assert [o.name for o in session.get_outputs()] == ["age_months", "male_probability"]
    for n in (1, 2, 7):
        months, probability = session.run(None, {"images": as_input(images[:n])})
        expected = predictor_of(run).predict(images[:n])
        assert months == pytest.approx(expected["predicted_age_months"], abs=0.01)
        assert probability == pytest.approx(expected["male_probability"], abs=1e-4)


def test_the_onnx_file_needs_no_other_file(exported):
    model, card = exported
    assert sorted(model.parent.iterdir()) == sorted([card, model])


def test_the_torch_program_gives_the_same_numbers(run, images, tmp_path):
    model, _ = export(run, "torch", TIER, tmp_path / "hand.pt2")
    program = torch.export.load(model).module()
    for n in (1, 5):
        months, probability = program(torch.from_numpy(as_input(images[:n])))
        expected = predictor_of(run).predict(images[:n])
        assert months.detach().numpy() == pytest.approx(expected["predicted_age_months"], abs=0.01)
        assert probability.detach().numpy() == pytest.approx(expected["male_probability"], abs=1e-4)


def test_a_network_with_the_sex_input_takes_it_in_onnx(tmp_path):
    run = trained(tmp_path / "run", n=30, n_validation=10, epochs=1, sex_input=True)
    images = squares_for(run.config, 30, 10).images[:3]
    model, card = export(run, "onnx", TIER)
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
    card = model_card(run, TIER, "hand.onnx")
    assert "Not a medical device" in card
    assert TIER in card
    assert "hands; evaluated on" in card
    assert "| all | both | 20 (few) |" in card
    assert "| 0–4 years | female |" in card
    assert "| labelled age | n | male | AUC (95 % CI) | accuracy (95 % CI) |" in card
    assert "| all | 20 (few) |" in card
    assert "nan" not in card.lower()


def test_an_unknown_format_is_named_with_the_known_ones(run):
    with pytest.raises(UserError, match="unknown export format 'tflite'; known: onnx, torch"):
        export(run, "tflite", TIER)


def test_a_wrong_suffix_is_refused_before_anything_is_written(run, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.onnx"):
        export(run, "onnx", TIER, tmp_path / "hand.pt2")
    assert not list(tmp_path.iterdir())
