"""study.yaml as strict, typed objects: the one file that lists the whole study."""

import hashlib
import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from h2a_lib.errors import UserError, suggestion, unknown

MOST_BYTES = 50_000  # the whole study has 6,000; a million would take half a minute to parse
# Of ASCII letters, and not ".", ".." or an option.
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
# The experiment that differs from the defaults in nothing.
DEFAULT = "resnet18"
Fraction = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


Task = Literal["age", "sex", "both", "ssl"]
Stem = Literal["imagenet", "small"]


class Network(NamedTuple):
    """A network that can be trained: its name in papers, and what it costs.

    `gflops` are the multiply-adds (10^9) of a grey picture of 224 px; where they are not given, a
    run counts as that of the first network.
    """

    title: str
    gflops: float = 1.74


# Here, so that planning a study need not import torch; how each is built: `models.networks.TRUNKS`.
NETWORKS = {
    "resnet18": Network("ResNet-18", 1.74),
    "resnet34": Network("ResNet-34", 3.59),
    "resnet50": Network("ResNet-50", 4.01),
    "resnet101": Network("ResNet-101", 7.72),
    "mobilenet_v3_small": Network("MobileNetV3 small", 0.05),
    "convnext_tiny": Network("ConvNeXt tiny", 4.4),
}


def _known_network(name: str) -> str:
    if name not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise ValueError(f"unknown network{suggestion(name, NETWORKS)}; known: {known}")
    return name


class Strict(BaseModel):
    """A part of the study; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, content: Any) -> Any:
        fields = cls.model_fields
        for key in content if isinstance(content, dict) else ():
            if isinstance(key, str) and key not in fields:
                text = f"unknown key{suggestion(key, fields)}; known: {', '.join(fields)}"
                raise PydanticCustomError("unknown_key", "{text}", {"key": key, "text": text})
        return content


# --- schedules of the learning rate --------------------------------------------------------------


class Constant(Strict):
    """The same rate throughout."""

    name: Literal["constant"]


class Step(Strict):
    """Multiply the rate by `gamma` every `step_size` epochs."""

    name: Literal["step"]
    gamma: Fraction
    step_size: Count


class Exponential(Strict):
    """Multiply the rate by `gamma` every epoch."""

    name: Literal["exponential"]
    gamma: Fraction


class Plateau(Strict):
    """Multiply by `factor` when the validation error has not fallen for `patience` epochs."""

    name: Literal["plateau"]
    factor: Fraction = 0.1
    patience: Annotated[int, Field(ge=0)] = 2


class Cyclic(Strict):
    """Between lr / `ratio` and lr and back, half a cycle in `step_size` epochs (Smith 2015)."""

    name: Literal["cyclic"]
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    ratio: Annotated[float, Field(gt=1)] = 10.0
    step_size: Positive = 2.0
    gamma: Fraction = 0.8
    """Decay an epoch; used by `exp_range` alone."""


class OneCycle(Strict):
    """Up from lr / `div_factor` to lr, then far below where it began (Smith and Topin 2017)."""

    name: Literal["one_cycle"]
    pct_start: Annotated[float, Field(gt=0, lt=1)] = 0.3
    div_factor: Annotated[float, Field(gt=1)] = 25.0
    final_div_factor: Annotated[float, Field(gt=1)] = 1e3


class Cosine(Strict):
    """Half a cosine from lr to zero."""

    name: Literal["cosine"]


def _named(value: Any) -> Any:
    """`adam` is short for `{name: adam}`."""
    return {"name": value} if isinstance(value, str) else value


Schedule = Annotated[
    Constant | Step | Exponential | Plateau | Cyclic | OneCycle | Cosine,
    Field(discriminator="name"),
    BeforeValidator(_named),
]


# --- optimisers ----------------------------------------------------------------------------------


class SGD(Strict):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True


class Adam(Strict):
    """Adam; weight decay is added to the gradient (L2)."""

    name: Literal["adam"]


class AdamW(Strict):
    """Adam; weight decay is decoupled from the gradient."""

    name: Literal["adamw"]


Optimizer = Annotated[SGD | Adam | AdamW, Field(discriminator="name"), BeforeValidator(_named)]


# --- one run -------------------------------------------------------------------------------------


class Augment(Strict):
    """Random changes of each training image; 0 or false turns one off."""

    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the image's side."""
    flip: bool = True
    """Left and right, half of the time."""
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Settings(Strict):
    """Everything that determines a training, but for its data and its seed."""

    # the picture
    image_size_px: Annotated[int, Field(ge=16, le=2048)]
    geometry: Literal["center_crop", "pad", "squash", "squash_nearest"]
    contrast: Literal["none", "equalize", "clahe", "stretch"]
    pixel_norm: Literal["instance", "batch", "dataset"]
    augment: Augment | None
    # the network
    network: Annotated[str, AfterValidator(_known_network)]
    width: Positive
    """Multiple of a ResNet's channels."""
    stem: Stem
    """Of a ResNet. imagenet: 7 x 7, stride 2, max pooling; small: 3 x 3, stride 2."""
    pretrained: bool
    task: Task
    """ssl: self-supervised, from the images alone; no label is used."""
    sex_input: bool
    # the training
    train_fraction: Fraction
    loss: Literal["l1", "smooth_l1", "quantile"]
    """quantile: the 5 %, 50 % and 95 % quantiles of age, each by its pinball loss."""
    optimizer: Optimizer
    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Schedule
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    early_stopping_patience: Count | None
    # the machine
    precision: Literal["auto", "32-true", "bf16-mixed"]
    """auto: bf16-mixed where the hardware has its arithmetic, see `h2a_lib.models.precision`."""
    threads: Count

    @property
    def estimates_age(self) -> bool:
        """Whether the network has an age head."""
        return self.task in ("age", "both")

    @property
    def estimates_sex(self) -> bool:
        """Whether the network has a sex head."""
        return self.task in ("sex", "both")

    @property
    def images_per_step(self) -> int:
        """Images that the network is given at each step: two views of each hand, or one."""
        return self.batch_size * (2 if self.task == "ssl" else 1)

    @property
    def relative_cost(self) -> float:
        """Estimate of the training's arithmetic, to order runs by and to estimate their time."""
        gflops = NETWORKS[self.network].gflops * self.width**2 * (4 if self.stem == "small" else 1)
        views = self.images_per_step / self.batch_size
        return gflops * (self.image_size_px / 224) ** 2 * views * self.epochs * self.train_fraction

    @model_validator(mode="after")
    def _combination_is_possible(self) -> "Settings":
        if self.sex_input and self.task != "age":
            raise ValueError(
                f"sex_input with task {self.task!r}: the network would be given its own answer; "
                "use task: age or sex_input: false"
            )
        is_altered = self.width != 1 or self.stem != "imagenet"
        if is_altered and not self.network.startswith("resnet"):
            raise ValueError(f"width and stem are settings of ResNets, not of {self.network}")
        if is_altered and self.pretrained:
            raise ValueError("ImageNet's weights fit width: 1 and stem: imagenet alone")
        if self.loss == "quantile" and not self.estimates_age:
            raise ValueError(f"loss: quantile is of age; task {self.task!r} estimates none")
        if self.task == "ssl" and self.augment is None:
            raise ValueError("task 'ssl' compares two augmentations of each image: set augment")
        return self


class RunConfig(Settings):
    """One training, fully determined together with the data."""

    experiment: str
    seed: Annotated[int, Field(ge=0)]

    @property
    def digest(self) -> str:
        """Hex digest of every setting; a run folder with another one is another run's."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- the study -----------------------------------------------------------------------------------


class Phantoms(Strict):
    """How the synthetic radiographs of a profile are drawn."""

    n: Annotated[int, Field(ge=10)]
    seed: Annotated[int, Field(ge=0)]
    height_px: Annotated[int, Field(ge=64, le=4096)]


class Profile(Strict):
    """A size and data tier of the whole study."""

    about: str
    phantoms: Phantoms | None = None
    data: Path | None = None
    external: Path | None = None
    """External radiographs, on which the answers are evaluated and nothing is chosen."""
    experiments: list[str] | Literal["all"]
    seeds: Count = 1
    """Runs of each experiment, with seeds 0, 1, …"""
    more_seeds: dict[str, Count] = {}
    """Experiments that are run with another number of seeds."""
    settings: dict[str, Any] = {}
    settings_of: dict[str, dict[str, Any]] = {}
    """Of single experiments here, over all else: more epochs for one of them, say."""

    @model_validator(mode="after")
    def _one_source_of_data(self) -> "Profile":
        if (self.phantoms is None) == (self.data is None):
            raise ValueError("give either phantoms or data, not both and not neither")
        return self


class StudyConfig(Strict):
    """The whole of study.yaml.

    A run's settings are the defaults, then what its profile says, then what its experiment says,
    then what the profile says of that experiment alone. A key replaces the earlier one whole.
    """

    title: str
    defaults: dict[str, Any]
    profiles: dict[str, Profile]
    experiments: dict[str, Any]
    """Settings by name; those that are wrong stop only who needs them, see `run_config`."""
    margin_months: Positive = 1.0
    """The smallest difference of two errors that matters, stated before any is measured."""

    def profile(self, name: str) -> Profile:
        """Return a profile; an unknown name is a UserError that lists the known ones."""
        if name not in self.profiles:
            raise unknown("profile", name, self.profiles)
        return self.profiles[name]

    def run_config(
        self, profile: str, experiment: str, seed: int = 0, changes: Mapping[str, Any] | None = None
    ) -> RunConfig:
        """Merge defaults, profile and experiment, and any changes, into one run's settings.

        A UserError for an unknown profile, experiment, key or value, or an impossible combination.
        """
        chosen = self.profile(profile)
        of_profile, of_both = chosen.settings, chosen.settings_of.get(experiment, {})
        if experiment not in self.experiments:
            raise unknown("experiment", experiment, self.experiments)
        of_experiment = self.experiments[experiment]
        if not isinstance(of_experiment, dict):
            raise UserError(f"study.yaml: experiments.{experiment}: name settings: {{lr: 1.0e-3}}")
        changed = dict(changes or {})
        merged = self.defaults | of_profile | of_experiment | of_both | changed
        try:
            Settings.model_validate(merged)  # alone, it knows no experiment and no seed
            return RunConfig(**merged, experiment=experiment, seed=seed)
        except ValidationError as error:
            key = (*_location(error.errors()[0]), "")[0]
            place = "study.yaml: defaults"
            if key in of_profile:
                place = f"study.yaml: profiles.{profile}.settings"
            if key in of_experiment or not key:
                place = f"study.yaml: experiments.{experiment}"
            if key in of_both:
                place = f"study.yaml: profiles.{profile}.settings_of.{experiment}"
            if key in changed:
                place = "changes"
            raise UserError(_in_one_line(_explain(error, place))) from None

    def run_configs(
        self, profile: str, experiments: Iterable[str]
    ) -> tuple[dict[str, RunConfig], dict[str, str]]:
        """Return the settings of some experiments, and what is wrong with each of the others."""
        configs, wrong = {}, {}
        for name in experiments:
            try:
                configs[name] = self.run_config(profile, name)
            except UserError as error:
                wrong[name] = str(error)
        return configs, wrong

    def wrong_experiments(self, profile: str) -> dict[str, str]:
        """Return what is wrong with each experiment of a profile that cannot be run.

        With the default experiment, which every study needs.
        """
        return self.run_configs(profile, dict.fromkeys([*self.experiments_of(profile), DEFAULT]))[1]

    def experiments_of(self, profile: str) -> list[str]:
        """Names of a profile's experiments, in the order of study.yaml."""
        chosen = self.profile(profile).experiments
        return [name for name in self.experiments if chosen == "all" or name in chosen]

    def runs_of(self, profile: str) -> Iterator[tuple[str, int]]:
        """Every (experiment, seed) of a profile."""
        seeds = self.profile(profile)
        for name in self.experiments_of(profile):
            for seed in range(seeds.more_seeds.get(name, seeds.seeds)):
                yield name, seed

    def check(self) -> None:
        """Raise a UserError for the first name in study.yaml that cannot be used."""
        for name in (*self.profiles, *self.experiments):
            if not FILE_NAME.fullmatch(name):
                raise UserError(
                    f"{name!r}: profiles and experiments are names of folders: use letters, "
                    "digits, dots, hyphens and underscores"
                )
        for name, profile in self.profiles.items():
            chosen = [] if profile.experiments == "all" else profile.experiments
            for experiment in [*chosen, *profile.more_seeds, *profile.settings_of]:
                if experiment not in self.experiments:
                    raise unknown(f"experiment (in profiles.{name})", experiment, self.experiments)


def load(path: Path) -> StudyConfig:
    """Read and check study.yaml; a UserError says in a line where it is wrong and what is known."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: more than {MOST_BYTES:,} bytes, no study is as long")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoDuplicateKeys)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not YAML: {_in_one_line(error)}") from None
    try:
        parsed = StudyConfig.model_validate(content)
        parsed.check()
    except ValidationError as error:
        raise UserError(f"{path.name}: {_in_one_line(_explain(error))}") from None
    except UserError as error:
        raise UserError(f"{path.name}: {_in_one_line(error)}") from None
    return parsed


def _in_one_line(message: object) -> str:
    """Return a message without what a terminal would take for a command or a new line."""
    words = " ".join(str(message).split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)


class _NoDuplicateKeys(yaml.SafeLoader):
    """YAML keeps the last of two equal keys in silence; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, times in Counter(keys).items():
            if times > 1:
                raise yaml.MarkedYAMLError(None, None, f"{key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _location(error: Mapping[str, Any]) -> list[str]:
    """Return the keys that lead to one of pydantic's errors."""
    return [*map(str, error["loc"]), *filter(None, [error.get("ctx", {}).get("key")])]


def _explain(error: ValidationError, place: str = "") -> str:
    """Say a validation error in one line: where, what, and what is known there."""
    # An unknown key says more than what may be missing for it.
    errors = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "unknown_key")
    first = errors[0]
    where = ".".join([place, *_location(first)]).strip(".")
    if first["type"] == "unknown_key":
        return f"{where}: {first['msg']}"
    if first["type"] == "missing":
        return f"{where}: missing"
    if first["type"] == "union_tag_invalid":
        tag, known = first["ctx"]["tag"], first["ctx"]["expected_tags"].replace("'", "")
        hint = suggestion(tag, known.split(", "))
        return f"{where}: unknown name {tag!r}{hint}; known: {known}"
    if first["type"] == "literal_error":
        known = first["ctx"]["expected"].replace("'", "")
        hint = suggestion(first["input"], known.replace(" or ", ", ").split(", "))
        return f"{where}: unknown value {reprlib.repr(first['input'])}{hint}; known: {known}"
    message = first["msg"].removeprefix("Value error, ")
    # Not the whole: aliases of aliases can make a value of a few bytes as long as a library.
    return f"{where}: {message[0].lower()}{message[1:]} (got {reprlib.repr(first['input'])})"
