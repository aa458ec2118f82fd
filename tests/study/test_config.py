"""study.yaml: what it holds, and what a slip in it says."""

from pathlib import Path

import pytest

from h2a_lib.errors import UserError
from h2a_lib.study import config as study

STUDY_FILE = Path(__file__).parents[2] / "study.yaml"


@pytest.fixture
def edited(tmp_path):
    """Return a function that loads study.yaml with one piece of text replaced."""

    def load(old: str, new: str) -> study.StudyConfig:
        text = STUDY_FILE.read_text()
        assert old in text, f"study.yaml no longer holds {old!r}"
        copy = tmp_path / "study.yaml"
        copy.write_text(text.replace(old, new, 1))
        return study.load(copy)

    return load


def check(study_file: study.StudyConfig) -> None:
    """Raise what is wrong with any run of study.yaml."""
    for profile in study_file.profiles:
        for experiment in study_file.experiments:
            study_file.run_config(profile, experiment)


def test_every_experiment_of_every_profile_is_a_complete_configuration():
    study_file = study.load(STUDY_FILE)
    for profile in study_file.profiles:
        runs = list(study_file.runs_of(profile))
        assert len(runs) == len(set(runs)) > 0
        digests = {study_file.run_config(profile, *run).digest for run in runs}
        assert len(digests) == len(runs)


def test_an_experiment_states_only_what_differs_from_the_defaults():
    study_file = study.load(STUDY_FILE)
    for name, differences in study_file.experiments.items():
        for key, value in differences.items():
            assert study_file.defaults[key] != value, f"{name}.{key} repeats the default"


def test_the_first_experiments_are_the_originals():
    study_file = study.load(STUDY_FILE)
    for depth in (18, 34, 50):
        config = study_file.run_config("demo", f"resnet{depth}")
        assert config.network == f"resnet{depth}"
        assert (config.pixel_norm, config.optimizer.name, config.weight_decay) == (
            "instance",
            "adam",
            0.0,
        )
        assert (config.schedule.name, config.schedule.gamma) == ("exponential", 0.7)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "network: resnet34}",
            "network: resnet35}",
            ["network", "'resnet35'", "resnet18, resnet34"],
        ),
        ("network: resnet34}", "netwrk: resnet34}", ["resnet34.netwrk", "unknown key", "network"]),
        ("optimizer: adam", "optimizer: adem", ["'adem'", "sgd, adam, adamw"]),
        ("gamma: 0.7", "gama: 0.7", ["gama", "unknown key", "gamma"]),
        ("name: exponential", "name: expo", ["'expo'", "constant, step, exponential"]),
        ("lr: 1.0e-3", "lr: -1", ["defaults.lr", "greater than 0"]),
        ("augment: null", "augment: {flop: true}", ["augment.flop", "rotation_degrees"]),
        (
            "\n  smoke:",
            "\n  smoke:\n    exta: 1",
            ["profiles.smoke.exta", "known: about, phantoms"],
        ),
        ("task: age", "task: sex\n  sex_input: true", ["stands twice"]),
        ("title:", "titel:", ["titel", "unknown key", "title"]),
        ("resnet18: {}", "resnet18: {}\n  resnet18: {}", ["'resnet18' stands twice"]),
        ("resnet18: {}", "resnet18: [1]", ["experiments.resnet18"]),
        ("resnet18: {}", "resnet18: {seed: 3}", ["resnet18.seed", "unknown key"]),
        ("profiles:", "profiles: [", ["not YAML"]),
    ],
)
def test_a_slip_is_one_line_that_names_it_and_what_is_known(edited, old, new, says):
    with pytest.raises(UserError) as caught:
        check(edited(old, new))
    message = str(caught.value)
    assert "\n" not in message and message.startswith(("study.yaml: ", "/"))
    assert all(part in message for part in says), message


def test_a_network_is_not_given_its_own_answer(edited):
    with pytest.raises(UserError, match="given its own answer"):
        check(edited("resnet18: {}", "resnet18: {task: sex, sex_input: true}"))


@pytest.mark.parametrize("wrong", ["{lr: fast}", "{learning_rate: 1}", "fast", "null"])
def test_a_wrong_experiment_stops_only_who_needs_it(edited, wrong):
    study_file = edited("lr_3e-3: {lr: 3.0e-3}", f"lr_3e-3: {wrong}")
    assert study_file.run_config("smoke", "resnet18").lr == 1e-3
    assert study_file.wrong_experiments("demo") == {}
    (message,) = study_file.wrong_experiments("smoke").values()
    assert message.startswith("study.yaml: experiments.lr_3e-3")
    with pytest.raises(UserError, match=r"experiments\.lr_3e-3"):
        study_file.run_config("smoke", "lr_3e-3")


def test_wrong_defaults_are_wrong_in_every_experiment(edited):
    study_file = edited("pixel_norm: instance", "pixel_nrm: instance")
    assert [*study_file.wrong_experiments("demo")] == study_file.experiments_of("demo")


def test_an_unknown_name_lists_the_known_ones():
    study_file = study.load(STUDY_FILE)
    with pytest.raises(UserError, match="unknown profile 'huge'; known: smoke, demo"):
        study_file.run_config("huge", "resnet18")
    with pytest.raises(
        UserError, match=r"experiment 'resnet19' \(did you mean 'resnet18'\?\); known: resnet18"
    ):
        study_file.run_config("smoke", "resnet19")


def test_a_key_replaces_the_default_whole(edited):
    study_file = edited(
        "resnet18: {}", "resnet18: {schedule: {name: step, gamma: 0.1, step_size: 4}}"
    )
    assert study_file.run_config("demo", "resnet18").schedule == study.Step(
        name="step", gamma=0.1, step_size=4
    )


def test_a_digest_changes_with_every_setting(config):
    base = config()
    changed = [
        config(lr=2e-3),
        config(seed=1),
        config(schedule="cosine"),
        config(augment={"flip": False}),
        config(threads=2),
    ]
    assert len({base.digest, *(c.digest for c in changed)}) == len(changed) + 1
    assert config().digest == base.digest


def test_aliases_that_explode_are_refused_quickly(tmp_path):
    bomb = tmp_path / "study.yaml"
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    bomb.write_text("\n".join(levels))
    with pytest.raises(UserError):
        study.load(bomb)
