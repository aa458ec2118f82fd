"""The three answers as the deck prints them, and the figures that go with them."""

import itertools
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import made_up
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from trained import squares_for, trained

from h2a_lib.analysis import selection
from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.age import literature, robustness, sex_gap
from h2a_lib.analysis.age import summary as age_report
from h2a_lib.analysis.saliency import maps as saliency
from h2a_lib.analysis.saliency.summary import SaliencyStudy, study_saliency
from h2a_lib.analysis.statistics import conformal
from h2a_lib.analysis.statistics.bootstrap import Estimate, by_split
from h2a_lib.analysis.statistics.variance_components import RunNoise
from h2a_lib.errors import UserError
from h2a_lib.figures import age as draw_age
from h2a_lib.figures import saliency as draw_saliency
from h2a_lib.study.results import Results

# Trained within a second, to whatever error.
tiny = partial(trained, n=20, n_validation=8, epochs=1, width=0.25)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "both", task="both", epochs=3, width=0.25)


@pytest.fixture(scope="module")
def images(run):
    hands = squares_for(run.config)
    return selection.pictures(hands, selection.validation(run)["id"])


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path, tmp_path, "Squares")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def hands_of(n, seed=0):
    frame, rng = made_up.hands(n, seed)
    true, male = frame["age_months"], frame["male"]
    return frame.assign(
        split="validation",
        predicted_age_months=127 + 0.7 * (true - 127) + rng.normal(0, 12, n),
        male_probability=np.clip(0.3 + 0.4 * male + rng.normal(0, 0.2, n), 0, 1),
    )


def robust_table(frame):
    pictures = np.repeat(frame["age_months"].to_numpy().astype(np.uint8)[:, None, None], 20, 1)
    pictures = np.repeat(pictures, 20, 2)
    return robustness.robustness(lambda i, male: i.mean(axis=(1, 2)), pictures, frame)


def numbers_of(frame, tier="rsna", seeds=None):
    """The numbers of question 1, intervals and correction fitted on other hands."""
    selection, seeds = hands_of(300, seed=5), seeds or [frame]
    augmented, corrected = frame.assign(spread_months=1.0), age.corrected(selection, frame)
    ways = age_report.options(frame, augmented, corrected, seeds)
    coverage = conformal.coverage(conformal.split_conformal(selection, frame))
    curve = age.abstention(np.ones(len(frame)), np.ones(len(frame)))
    run = SimpleNamespace(
        predictions_train=hands_of(300, seed=9), config=SimpleNamespace(sex_input=False)
    )
    return age_report.variables(
        run, seeds, ways, coverage, curve, robust_table(frame), tier, 0.9
    ) | sex_gap.variables(sex_gap.sex_gap(frame), frame)


@pytest.mark.parametrize("n", [1, 2, 20, 700])
def test_the_numbers_of_question_1_can_be_printed_for_any_number_of_hands(n, results):
    frame = hands_of(n)
    numbers = numbers_of(frame, seeds=[frame, frame])
    results.variables("age", numbers)
    assert f"n = {n:,}" in numbers["mae"]
    assert ("few" in numbers["mae"]) == (n < 30)
    assert numbers["floor"].startswith("4.6–7.0 months (4.6 by our own estimate; ")
    assert numbers["sex_gap_verdict"] and numbers["sex_gap_sentence"]
    assert numbers["sex_gap_sex_input"].startswith("With sex as an input, ")
    assert "challenge" in numbers and "challenge" not in numbers_of(frame, "phantom")
    assert len(by_split(frame, age.metrics)) == len(age.metrics(frame))


def test_published_results_stand_beside_real_hands_and_one_kind_of_label_alone():
    observed = hands_of(50)
    kinds = {
        tier: [kind for *_, kind in age_report.yardsticks(observed, observed, "x", tier)]
        for tier in ("phantom", "folder", "rsna")
    }
    assert "published" not in kinds["phantom"] + kinds["folder"]
    of_reports = [row for row in literature.AGE_ERRORS if row.labels == "one report"]
    assert kinds["rsna"].count("published") == len(of_reports)


def test_regression_to_the_mean_is_reported_with_what_correcting_it_costs():
    frame, selection = hands_of(700), hands_of(300, seed=5)
    corrected = age.corrected(selection, frame)
    ways = age_report.options(frame, frame, corrected, [frame, frame]).set_index("option")
    assert ways.loc[age_report.AUGMENTED, "tie"]
    assert ways.loc[age_report.ENSEMBLE, "change_months"] == 0
    numbers = numbers_of(frame, "phantom")
    assert numbers["error_slope_sentence"].startswith("Estimates are drawn towards the mean age")
    assert "the MAE" in numbers["error_slope_sentence"]
    assert "no ensemble" in numbers["ensemble_sentence"]


def test_a_constant_estimate_is_not_called_corrected():
    frame = hands_of(200).assign(predicted_age_months=120.0)
    ways = age_report.options(frame, frame, age.corrected(frame, frame), [frame])
    correction = Estimate.of(ways.set_index("option").loc[age_report.CORRECTED], "change_months")
    slope = age.regression_to_the_mean(frame)["error_slope"]
    assert "hardly depend" in age_report.error_slope_sentence(slope, correction)


def test_unbounded_intervals_are_called_unbounded():
    table = conformal.coverage(conformal.split_conformal(hands_of(6), hands_of(50, seed=1)))
    assert "selection hands are too few" in age_report.conformal_sentence(table, 0.9)
    assert "Too few hands" in age_report.conformal_verdict(table, 0.9)


def test_a_band_that_its_intervals_fail_is_named():
    intervals = conformal.split_conformal(hands_of(900), hands_of(600, seed=1))
    oldest = intervals["age_months"] >= 192
    table = conformal.coverage(intervals.assign(covered=intervals["covered"] & ~oldest))
    sentence = age_report.conformal_sentence(table, 0.9)
    assert "falls short at 16–20 years, with 0.0 %" in sentence
    assert "falls short" not in age_report.conformal_sentence(conformal.coverage(intervals), 0.5)


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ([60, 50, 40, -55, -45, -41, -42, 43, 1, -2], "40 to 60 months, 4 of 8 underestimates"),
        ([60, 50, 40, 1], "1 to 60 months, all overestimates"),
        ([-40.2, -40, 40, 1, 1], "1 to 40 months, 3 of 5 overestimates"),
        ([-40.2, -39.8], "40 months, all underestimates"),
    ],
)
def test_a_title_says_how_far_off_the_worst_cases_are_and_to_which_side(errors, verdict):
    observed = hands_of(len(errors))
    observed = observed.assign(predicted_age_months=observed["age_months"] + errors)
    assert abs(np.array(errors)[age.worst(observed)]).tolist() == sorted(map(abs, errors))[::-1][:8]
    assert age_report.worst_verdict(observed) == verdict


@pytest.mark.parametrize("answer", ["age", "sex"])
def test_saliency_is_studied_and_drawn_for_both_answers(run, images, answer, tmp_path, results):
    seeing = study_saliency([run], images, selection.validation(run), answer, tmp_path)
    assert seeing.n == len(images)
    assert sum(n for _, n, *_ in seeing.averages) == len(images)
    assert list(seeing.regions) == ["off_hand"]  # squares are no phantoms
    assert seeing.regions_sentence().startswith("The hand (by its estimated outline) covers")
    results.variables("saliency", seeing.variables())
    drawing = draw_saliency.saliency(seeing, run.name)
    assert drawing.name == f"saliency_{answer}" and drawing.is_raster
    assert "Sanity check" in drawing.finding and f"n = {len(images)}" in drawing.caption
    drawing.figure.canvas.draw()


def test_on_phantoms_the_share_on_the_marker_is_reported(tmp_path):
    from h2a_lib import phantoms as phantom
    from h2a_lib.data import images as files

    run = tiny(tmp_path / "run")
    folder = tmp_path / "phantoms"
    phantom.write(folder, n=6, seed=5, height_px=120)
    ids = [str(i) for i in range(1, 7)]
    frame = pd.DataFrame({"id": ids, "age_months": 100.0, "male": True})
    pictures = np.stack(
        [files.prepare(folder / f"boneage-training-dataset/{i}.png", 32) for i in ids]
    )
    message = study_saliency([run], pictures, frame, "age", folder).variables()
    assert message["regions_sentence"].startswith(
        ("The hand covers", "No hand was detected, or the maps")
    )
    assert message["regions_verdict"]


def saliency_study(on_hand, sanity=0.1, n=100):
    """Where a network looks, made up: shares of Grad-CAM and of occlusion on a fifth of it."""
    table = pd.DataFrame({"stage": saliency.STAGES, "similarity": sanity, "n": n})
    table = table.assign(similarity_low=sanity - 0.05, similarity_high=sanity + 0.05)
    result = tuple(
        saliency.Attention(Estimate(share, share - 0.05, share + 0.05, n), 0.2) for share in on_hand
    )
    return SaliencyStudy("age", [], [], table, {"hand": result}, n)


@pytest.mark.parametrize(
    ("seeing", "verdict"),
    [
        (saliency_study((0.4, 0.5)), "40 % of Grad-CAM is on the hand (20 %"),
        (saliency_study((0.1, 0.1)), "10 % of Grad-CAM is on the hand"),
        (saliency_study((0.18, 0.24)), "18 % of Grad-CAM is on the hand"),
        (saliency_study((0.4, 0.2)), "Grad-CAM and occlusion disagree about the hand"),
        (saliency_study((0.4, 0.5), sanity=0.6), "the maps fail their sanity check: they show the"),
        (saliency_study((0.4, 0.5), sanity=np.nan, n=0), "the maps have no contrast and show"),
    ],
)
def test_a_title_says_of_the_maps_what_their_intervals_and_their_check_allow(seeing, verdict):
    assert seeing.regions_verdict().startswith(verdict)
    off_hand = tuple(map(saliency.complement, seeing.regions["hand"]))
    assert replace(seeing, regions={"off_hand": off_hand}).regions_verdict() == (
        seeing.regions_verdict()
    )


def test_the_best_runs_are_those_with_the_lowest_error_and_all_their_seeds(tmp_path):
    made = {
        (name, seed): tiny(tmp_path / f"{name}-{seed}", experiment=name, seed=seed)
        for name, seed in itertools.product("ab", (0, 1))
    }
    for (name, _), run in made.items():
        # The validation hands, which would choose the other, have no say.
        run.metrics["validation"]["mae_months"] = {"a": 1.0, "b": 99.0}[name]
        run.metrics["selection"]["mae_months"] = {"a": 12.0, "b": 9.0}[name]
    result = selection.best_runs(made.values(), "age")
    assert [(run.config.experiment, run.config.seed) for run in result] == [("b", 0), ("b", 1)]
    assert selection.best_runs(made.values(), "age", "a")[0].config.experiment == "a"
    with pytest.raises(UserError, match="task: sex"):
        selection.best_runs(made.values(), "sex")
    assert selection.runs_like(made.values(), "sex", result[0]) is None


def test_a_run_with_sex_input_answers_only_where_no_other_does(tmp_path):
    given_sex = tiny(tmp_path / "told", sex_input=True, experiment="told")
    blind = tiny(tmp_path / "blind", experiment="blind")
    given_sex.metrics["selection"]["mae_months"] = blind.metrics["selection"]["mae_months"] / 2
    assert selection.best_runs([given_sex, blind], "age") == [blind]
    assert selection.best_with_sex_input([given_sex, blind]) == [given_sex]
    assert selection.best_runs([given_sex], "age") == [given_sex]
    assert selection.best_with_sex_input([blind]) == []


def test_hands_are_clustered_by_a_network_without_the_sex_as_input_or_target(run, tmp_path):
    blind = tiny(tmp_path / "blind")
    given_sex = tiny(tmp_path / "told", sex_input=True)
    assert selection.blind_to_sex([run, given_sex, blind]) == [blind]
    with pytest.raises(UserError, match="every run of the study has sex as an input or a target"):
        selection.blind_to_sex([run, given_sex])


def test_a_run_for_age_and_sex_answers_both_questions(run):
    assert selection.best_runs([run], "age") == selection.best_runs([run], "sex") == [run]
    assert selection.runs_like([run], "sex", run) is run


def test_bands_with_few_hands_are_no_extremes_but_are_stated():
    frame = hands_of(200)
    frame["age_months"] = np.where(np.arange(200) < 8, 220, np.linspace(60, 130, 200))
    frame["predicted_age_months"] = frame["age_months"] + np.where(np.arange(200) < 8, 50, 5)
    text = age_report.band_sentence(age.by_band(frame))
    largest, others = text.split("largest at ")[1].split(". In smaller bands it is ")
    assert "5.0 months" in largest and "16–20" not in largest
    assert others.startswith("50.0 months") and others.endswith("at 16–20 years.")


def test_leaving_out_uncertain_hands_is_a_gain_only_where_the_spread_predicts_errors():
    errors = np.random.default_rng(0).exponential(10, 400)
    unrelated = np.random.default_rng(1).random(400)
    related, random = (
        age_report.abstention_sentence(age.abstention(errors, spread))
        for spread in (errors, unrelated)
    )
    assert " instead of " in related and "no clear gain" not in related
    assert ", no clear gain on " in random


def test_what_sex_input_adds_is_reported_and_shown(config):
    frame = hands_of(300)
    better = (frame["predicted_age_months"] + frame["age_months"]) / 2
    with_sex_input = frame.assign(predicted_age_months=better)
    given, longer, blind = (
        [SimpleNamespace(predictions=part, config=config(**settings))]
        for part, settings in (
            (with_sex_input, {"sex_input": True}),
            (with_sex_input, {"sex_input": True, "epochs": 24}),
            (frame, {}),
        )
    )
    quiet, noisy, unknown = RunNoise(0.0, 4), RunNoise(100.0, 4), RunNoise(math.nan, 0)

    def sentence_of(noise):
        return age_report.sex_input_variables(given, blind, noise)["sex_input_sentence"]

    sentence = sentence_of(quiet)
    begin = "With sex as an input, the error is"
    assert sentence.startswith(f"{begin} {age.error(with_sex_input).text('months')}, ")
    assert "lower than without it; the difference is" in sentence
    assert sentence.endswith(", training noise included.")
    assert "not distinguishable" in sentence_of(noisy), "seeds alone may differ as much"
    assert ", training noise unknown, since there is one seed each." in sentence_of(unknown)
    values = age_report.sex_input_variables(longer, blind, quiet)
    assert "also differs in its epochs (24 instead of" in values["sex_input_sentence"]
    assert age_report.sex_input_variables([], blind, quiet) == {}
    assert numbers_of(frame)["answer"].startswith("From the image alone")
    rows = age_report.yardsticks(frame, frame, "x", "phantom", with_sex_input)
    assert [name for name, *_ in rows][:2] == ["x", age_report.GIVEN_SEX]


def test_test_hands_stand_beside_results_on_their_own_kind_of_label():
    observed, test = hands_of(50), hands_of(40, seed=3).assign(split="test")
    rows = age_report.yardsticks(observed, pd.concat([observed, test]), "x", "rsna")
    (at,) = [i for i, (*_, kind) in enumerate(rows) if kind == "heading"]
    scale = {one.what: one.labels for one in literature.AGE_ERRORS}
    for labels, part in (("one report", rows[:at]), ("six readings", rows[at:])):
        shown = [name for name, _, kind in part if kind == "published"]
        assert shown and all(scale[name] == labels for name in shown)
    assert rows[at + 1][1].n == 40
    draw_age.plot_yardsticks(rows, plt.figure().subplots(), (4.6, 7.0))
    table = age_report.published(pd.concat([observed, test]), "x", "rsna")
    ours = table[table["ours"]].set_index("labels")
    assert ours["n"].to_dict() == {"one report": 50, "six readings": 40}
    assert not age_report.published(observed, "x", "folder")["mae_months_low"].isna().any()


def test_pictures_are_found_by_id(run):
    hands = squares_for(run.config)
    ids = hands.labels["id"].iloc[[5, 2]].tolist()
    assert np.array_equal(selection.pictures(hands, ids), hands.images[[5, 2]])
    with pytest.raises(UserError, match="no image of id stranger"):
        selection.pictures(hands, [ids[0], "stranger"])


@pytest.mark.parametrize(
    ("half_width", "n_too_low", "title"),
    [
        (
            30.0,
            2,
            ": median width 60 months against 80; bands with too low coverage: 2 against 1",
        ),
        (30.0, 0, ": median width 60 months against 80"),
        (45.0, 1, ": median width 90 months against 80; bands with too low coverage: 1 against 1"),
    ],
)
def test_widths_for_each_hand_are_compared_by_median_and_by_bands_with_hands(
    half_width, n_too_low, title
):
    names, n = ["all", "0–4 years", "4–8 years", "8–12 years", "12–16 years"], [90, 30, 30, 30, 0]
    table = pd.DataFrame(
        {
            "method": [age_report.QUANTILES] * 5 + [age_report.AROUND_MEDIAN] * 5,
            "by": ["all", *["true age"] * 4] * 2,
            "band": names * 2,
            "n": n * 2,
            "coverage": 0.8,
            "fails": [False, *[k < n_too_low for k in range(4)], False, True, *[False] * 3],
            "half_width_months": [half_width] * 5 + [40.0] * 5,
            "interval_score_months": 100.0,
        }
    )
    values = age_report.quantile_variables(table)
    assert values["quantile_verdict"].startswith(f"Conformalised quantiles{title}")
    assert ("with the former at 0–4 years" in values["quantile_sentence"]) == (n_too_low > 0)
    assert "with the latter at 0–4 years of labelled age (80 %)" in values["quantile_sentence"]
    assert age_report.quantile_variables(table[5:]) == {}
