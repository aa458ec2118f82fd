"""The growth model does what its table says, measured in pixels."""

import itertools
from functools import cache

import numpy as np
import pytest

from h2a_lib import phantoms
from h2a_lib.figures.growth_chart import growth_chart
from h2a_lib.phantoms.growth import centres, grow, relative_size
from h2a_lib.phantoms.skeleton import CARPALS
from h2a_lib.phantoms.solids import Thickness, Tube

SEXES = [("girls", False), ("boys", True)]
TABLE = centres()
PX_PER_MM = 4.0
# Several centres appear or fuse in the same month.
atlas_plate = cache(phantoms.atlas_plate)


def solid_of(plate, name):
    """Return the drawn body of a centre, or None."""
    wanted = name + " epiphysis" if TABLE[name].kind == "epiphysis" else name
    return next((s for s in plate.skeleton.solids if s.name == wanted), None)


def middle_mm(solid) -> np.ndarray:
    """Return the middle of a body in the hand's frame."""
    if hasattr(solid, "centre"):
        return solid.centre
    there = np.flatnonzero(solid.outer > 0)
    along = (there[0] + there[-1]) / 2 / (len(solid.outer) - 1) * solid.length
    return solid.origin + along * solid.axis


def disc(plate, place_mm, radius_mm) -> np.ndarray:
    """Return the bone thickness within a disc of a plate."""
    h, w = plate.bone_mm.shape
    x, y = plate.view.to_px(place_mm[None, :])[0]
    rows, columns = np.mgrid[:h, :w]
    return plate.bone_mm[np.hypot(rows - y, columns - x) <= radius_mm * plate.view.px_per_mm]


def along_axis(plate, name, of="bone_mm") -> np.ndarray:
    """Return bone thickness, or grey, along the axis of a tubular bone near its growing end."""
    bone = next(s for s in plate.skeleton.solids if s.name == name)
    share = 0.09 if name in ("radius", "ulna") else 0.32
    at = np.linspace(0.03 * share / 0.32, share, 200) * bone.length
    px = np.rint(plate.view.to_px(bone.origin + at[:, None] * bone.axis)).astype(int)
    # Averaged over a few samples: trabeculae are not growth plates.
    values = getattr(plate, of)[px[:, 1], px[:, 0]].astype(float)
    return np.convolve(values, np.full(5, 0.2), mode="valid")


def test_the_table_holds_every_centre_of_the_hand_with_its_source():
    kinds = [c.kind for c in TABLE.values()]
    assert kinds.count("carpal") == 8 and kinds.count("sesamoid") == 1
    assert kinds.count("epiphysis") == 2 + 5 + 14
    assert set(CARPALS) == {c.name for c in TABLE.values() if c.kind == "carpal"}
    assert all(c.source for c in TABLE.values())


@pytest.mark.parametrize(("sex", "male"), SEXES)
def test_centres_appear_before_they_fuse_and_in_the_published_order(sex, male):
    for centre in TABLE.values():
        assert 0 < centre.appear[sex] < centre.fuse[sex] <= 228
    carpals = ["capitate", "hamate", "triquetrum", "lunate", "trapezium", "trapezoid", "pisiform"]
    months = [TABLE[name].appear[sex] for name in carpals]
    assert months == sorted(months)
    last = max(TABLE.values(), key=lambda c: c.fuse[sex])
    assert last.name == "radius" and 17 * 12 <= last.fuse[sex] <= 19 * 12
    first = min((c for c in TABLE.values() if c.kind == "epiphysis"), key=lambda c: c.fuse[sex])
    assert first.name.startswith("distal phalanx")


def test_girls_are_ahead_of_boys_by_months_to_two_and_a_half_years():
    for centre in TABLE.values():
        assert 0 <= centre.appear["boys"] - centre.appear["girls"] <= 24, centre.name
        assert 12 <= centre.fuse["boys"] - centre.fuse["girls"] <= 30, centre.name
    for age in range(12, 216, 12):
        girl, boy = (grow(age, male).progress for male in (False, True))
        assert all(girl[name] >= boy[name] for name in TABLE)


@pytest.mark.parametrize(("sex", "male"), SEXES)
@pytest.mark.parametrize("name", list(TABLE))
def test_a_centre_appears_at_its_age(name, sex, male):
    month = TABLE[name].appear[sex]
    after = atlas_plate(month + 3, male, PX_PER_MM)
    before = atlas_plate(max(month - 0.5, 0), male, PX_PER_MM)
    assert solid_of(before, name) is None
    body = solid_of(after, name)
    scale = before.skeleton.scale / after.skeleton.scale
    now, then = disc(after, middle_mm(body), 0.6), disc(before, middle_mm(body) * scale, 0.6)
    if name in ("pisiform", "adductor sesamoid"):  # seen through another bone
        assert now.mean() > then.mean() * 1.02
    else:
        assert then.max() < 0.05
        assert now.mean() > 0.1


@pytest.mark.parametrize(("sex", "male"), SEXES)
@pytest.mark.parametrize("name", [c.name for c in TABLE.values() if c.kind == "epiphysis"])
def test_a_growth_plate_is_a_dark_line_until_it_fuses(name, sex, male):
    month = TABLE[name].fuse[sex]
    open_, fused = (
        along_axis(atlas_plate(m, male, PX_PER_MM), name) for m in (month - 36, min(month + 1, 228))
    )
    assert open_.min() < 0.1 * np.median(open_)
    assert fused.min() > 0.3 * np.median(fused)  # trabeculae alone vary that much


@pytest.mark.parametrize("name", ["radius", "ulna", "metacarpal 3", "proximal phalanx 2"])
def test_a_growth_plate_is_visible_in_the_picture_until_it_fuses(name):
    month = TABLE[name].fuse["boys"]
    open_, fused = (
        along_axis(atlas_plate(m, True, PX_PER_MM), name, "image") for m in (month - 36, month + 1)
    )
    assert open_.min() < 0.77 * np.median(open_)
    assert fused.min() > 0.8 * np.median(fused)


@pytest.mark.parametrize("name", ["capitate", "lunate", "radius", "proximal phalanx 3"])
def test_a_centre_is_visible_in_the_picture_from_its_age(name):
    """Ten grey levels brighter than the cartilage around it; before, no more than three."""

    def stands_out(month: float) -> float:
        plate = atlas_plate(month, True, PX_PER_MM)
        place = middle_mm(solid_of(later, name)) * plate.skeleton.scale / later.skeleton.scale
        x, y = plate.view.to_px(place[None, :])[0]
        rows, columns = np.mgrid[: plate.image.shape[0], : plate.image.shape[1]]
        away = np.hypot(rows - y, columns - x) / PX_PER_MM
        ring = plate.image[(away > 1.8) & (away < 2.4) & (plate.bone_mm == 0)]
        return plate.image[away < 0.6].mean() - np.median(ring)

    month = TABLE[name].appear["boys"]
    later = atlas_plate(month + 3, True, PX_PER_MM)
    assert stands_out(month + 3) >= 10
    assert stands_out(month - 0.5) <= 3


@pytest.mark.parametrize(("sex", "male"), SEXES)
def test_no_bone_reaches_beyond_its_ends(sex, male):
    plate = atlas_plate(228, male, 2.0)
    for bone in plate.skeleton.solids:
        if isinstance(bone, Tube):
            drawn = Thickness(*plate.bone_mm.shape)
            bone.draw(plate.view, drawn)
            whole = slice(0, plate.view.height), slice(0, plate.view.width)
            along, _ = plate.view.local(whole, bone.origin, bone.axis)
            assert not drawn.compact[along < -0.25 * bone.outer.max()].any(), bone.name


@pytest.mark.parametrize(("sex", "male"), SEXES)
def test_bone_only_grows(sex, male):
    area = [(atlas_plate(age, male, 1.5).bone_mm > 0.05).sum() for age in range(0, 229, 19)]
    assert all(b > 0.985 * a for a, b in itertools.pairwise(area))
    assert area[-1] > 5 * area[0]


def test_a_centre_grows_without_a_jump_from_nothing_to_its_full_size():
    sizes = [relative_size(p) for p in np.linspace(-0.1, 1.2, 200)]
    assert sizes[0] == 0 and sizes[-1] == 1
    assert sizes == sorted(sizes)


def test_variation_within_a_hand_is_shared_by_its_groups():
    from h2a_lib.phantoms.streams import Stream

    hands = [grow(120, True, Stream(seed, "growth")).progress for seed in range(300)]
    pair = np.corrcoef([(h["capitate"], h["hamate"]) for h in hands], rowvar=False)[0, 1]
    apart = np.corrcoef([(h["capitate"], h["metacarpal 3"]) for h in hands], rowvar=False)[0, 1]
    assert pair > 0.5 > 0.25 > abs(apart)


def test_the_growth_chart_shows_both_sexes_and_every_centre(tmp_path):
    figure = growth_chart(tmp_path / "chart.png", px_per_mm=0.4)
    hands, timeline = figure.axes
    assert len(hands.texts) == 36
    assert len(timeline.get_yticklabels()) == len(TABLE)
    assert (tmp_path / "chart.png").read_bytes()[:4] == b"\x89PNG"
