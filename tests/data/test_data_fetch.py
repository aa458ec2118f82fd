import io
import stat
import zipfile

import pytest
from data_folders import write_set

from h2a_lib.data import fetch, sources
from h2a_lib.data.labels import TableFormat
from h2a_lib.errors import UserError

IDS = [str(k) for k in range(100, 112)]


def pack(folder, archive, prefix=""):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                opened.write(file, prefix + file.relative_to(folder).as_posix())
    return archive


def packed(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, text in content.items():
            opened.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path):
    return pack(write_set(tmp_path / "data", IDS), tmp_path / "rsna-bone-age.zip")


def test_an_archive_becomes_a_sound_folder(tmp_path, archive):
    (result,) = fetch.fetch([archive], tmp_path / "out")
    assert result.name == "train"
    inspection = sources.inspect(tmp_path / "out")
    assert inspection.is_sound
    assert inspection.fingerprint == sources.inspect(tmp_path / "data").fingerprint


@pytest.mark.parametrize("packed_up", [False, True])
def test_a_table_with_headings_of_ones_own_is_fetched_by_its_columns(tmp_path, packed_up):
    data = write_set(tmp_path / "data", IDS)
    rows = "".join(f"{key},{k},{'MF'[k % 2]}\n" for k, key in enumerate(IDS))
    (data / "boneage-training-dataset.csv").write_text(f"Patient #,Alter,Who's a boy?\n{rows}")
    source = pack(data, tmp_path / "own.zip") if packed_up else data
    with pytest.raises(UserError, match="no label table"):
        fetch.fetch([source], tmp_path / "refused")
    form = TableFormat.parse("""id="Patient #",age_years=Alter,sex="Who's a boy?\"""")
    (result,) = fetch.fetch([source], tmp_path / "out", form=form)
    assert result.name == "train"
    inspection = sources.inspect(tmp_path / "out", form=form)
    assert inspection.is_sound and inspection.labels["age_months"].max() == 12 * (len(IDS) - 1)


def test_images_without_a_folder_get_the_archives_name(tmp_path):
    write_set(tmp_path / "data", IDS)
    images = tmp_path / "data" / "boneage-training-dataset"
    pictures = pack(images, tmp_path / "boneage-training-dataset.zip")
    table = tmp_path / "Bone+Age+Training+Set+Annotations.zip"
    with zipfile.ZipFile(table, "w") as opened:
        opened.write(tmp_path / "data" / "boneage-training-dataset.csv", "train.csv")
    fetch.fetch([pictures, table], tmp_path / "out")
    assert (tmp_path / "out" / "train.csv").is_file()
    assert sources.inspect(tmp_path / "out").is_sound


def test_archives_in_the_official_validation_archive_are_unpacked(tmp_path):
    data = write_set(tmp_path / "data", IDS, table="Validation Dataset.csv", images="all")
    halves = (IDS[:6], IDS[6:])
    content = {}
    for k, ids in enumerate(halves, 1):
        folder = f"boneage-validation-dataset-{k}"
        inner = {f"{folder}/{one}.png": (data / "all" / f"{one}.png").read_bytes() for one in ids}
        content[f"Bone Age Validation Set/{folder}.zip"] = packed(inner)
    table = (data / "Validation Dataset.csv").read_bytes()
    content["Bone Age Validation Set/Validation Dataset.csv"] = table
    (tmp_path / "v.zip").write_bytes(packed(content))
    (result,) = fetch.fetch([tmp_path / "v.zip"], tmp_path / "out")
    assert result.name == "validation" and len(result.folders) == 2
    assert sources.inspect(tmp_path / "out").is_sound
    assert not list((tmp_path / "out").rglob("*.zip"))


def test_fetching_again_changes_nothing(tmp_path, archive):
    fetch.fetch([archive], tmp_path / "out")
    before = {one: one.stat().st_mtime_ns for one in (tmp_path / "out").rglob("*")}
    fetch.fetch([archive], tmp_path / "out")
    assert {one: one.stat().st_mtime_ns for one in (tmp_path / "out").rglob("*")} == before


def test_an_interrupted_fetch_goes_on_where_it_was(tmp_path, archive, monkeypatch):
    real, written = fetch._copy, []

    def copy_then_die(opened, member, to):
        if len(written) == 5:
            to.write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(member.filename)
        real(opened, member, to)

    monkeypatch.setattr(fetch, "_copy", copy_then_die)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch([archive], tmp_path / "out")
    first = list(written)
    written.clear()

    def copy(opened, member, to):
        written.append(member.filename)
        real(opened, member, to)

    monkeypatch.setattr(fetch, "_copy", copy)
    fetch.fetch([archive], tmp_path / "out")
    assert len(first) == 5 and not set(first) & set(written)
    assert sources.inspect(tmp_path / "out").is_sound


def test_nothing_is_overwritten(tmp_path, archive):
    mine = tmp_path / "out" / "boneage-training-dataset.csv"
    mine.parent.mkdir()
    mine.write_text("my own")
    with pytest.raises(UserError, match="already exists with different content"):
        fetch.fetch([archive], tmp_path / "out")
    assert mine.read_text() == "my own"
    assert list((tmp_path / "out").iterdir()) == [mine]


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"]
)
def test_a_path_that_leaves_the_folder_is_refused_and_nothing_unpacked(tmp_path, name):
    bad = tmp_path / "bad.zip"
    bad.write_bytes(packed({"good.csv": b"id,boneage,male\n", name: b"x"}))
    with pytest.raises(UserError, match=r"unsafe path .*nothing was unpacked"):
        fetch.fetch([bad], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil.png").exists()


def test_a_link_in_an_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("images")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as opened:
        opened.writestr(link, "/etc")
    with pytest.raises(UserError, match="'images' is a link"):
        fetch.fetch([tmp_path / "bad.zip"], tmp_path / "out")


def test_a_link_that_is_there_already_leads_nothing_out(tmp_path, archive):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "boneage-training-dataset").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="leads out of"):
        fetch.fetch([archive], tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "no zip", "flipped"])
def test_a_damaged_archive_is_one_line(tmp_path, archive, damage):
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "no zip":
        content = b"<html>please sign in</html>"
    else:
        content[len(content) // 3] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"rsna-bone-age\.zip: not a sound zip archive"):
        fetch.fetch([archive], tmp_path / "out")


def test_a_disk_that_is_too_small_is_rejected_before_anything_is_written(
    tmp_path, archive, monkeypatch
):
    monkeypatch.setattr(fetch, "SPARE_BYTES", 10**18)
    with pytest.raises(UserError, match=r"needs .* GB"):
        fetch.fetch([archive], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("copy", [False, True])
def test_a_folder_is_linked_or_copied_and_twice_is_as_once(tmp_path, copy):
    data = write_set(
        tmp_path / "data", IDS, images="boneage-training-dataset/boneage-training-dataset"
    )
    for _ in range(2):
        fetch.fetch([data], tmp_path / "out", copy=copy)
    assert (tmp_path / "out" / "boneage-training-dataset.csv").is_symlink() != copy
    assert sources.inspect(tmp_path / "out").is_sound


@pytest.mark.parametrize("copy", [False, True])
def test_images_that_lie_beside_their_table_are_brought_one_by_one(tmp_path, copy):
    data = write_set(tmp_path / "data", IDS, images=".")
    (data / "notes.txt").write_text("of the clinic")
    for _ in range(2):
        fetch.fetch([data], tmp_path / "out", copy=copy)
    assert sources.inspect(tmp_path / "out").is_sound
    brought = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert brought == sorted(["boneage-training-dataset.csv", *(f"{key}.png" for key in IDS)])
    assert (tmp_path / "out" / "100.png").is_symlink() != copy


def test_archives_that_lie_in_a_folder_are_unpacked(tmp_path, archive):
    placed = tmp_path / "placed"
    placed.mkdir()
    archive.rename(placed / archive.name)
    fetch.fetch([placed], tmp_path / "out")
    assert sources.inspect(tmp_path / "out").is_sound


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="absent does not exist"):
        fetch.fetch([tmp_path / "absent"], tmp_path / "out")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_kaggle_says_what_to_do_by_hand(tmp_path, monkeypatch, status):
    import kagglehub
    import requests

    def refuse(handle):
        assert handle == "kmader/rsna-bone-age"
        response = requests.Response()
        response.status_code = status
        raise requests.HTTPError("no", response=response)

    monkeypatch.setattr(kagglehub, "dataset_download", refuse)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setattr(fetch, "KAGGLE_BYTES", 0)
    with pytest.raises(UserError, match=rf"HTTP {status}.*\n.*kaggle.json|get the data by hand"):
        fetch.fetch(["kaggle"], tmp_path / "out")


def test_kaggles_copy_is_linked_from_its_cache(tmp_path, monkeypatch):
    import kagglehub

    data = write_set(
        tmp_path / "data", IDS, images="boneage-training-dataset/boneage-training-dataset"
    )
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: str(data))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setattr(fetch, "KAGGLE_BYTES", 0)
    fetch.fetch(["kaggle"], tmp_path / "out")
    assert sources.inspect(tmp_path / "out").is_sound
