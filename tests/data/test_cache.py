import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_folders import write_set

from h2a_lib.data import cache, images, index, ingest, sources
from h2a_lib.errors import DataError, UserError

IDS = [str(k) for k in range(100, 140)]


@pytest.fixture
def data(tmp_path):
    return write_set(tmp_path / "data", IDS)


def build(data, folder, labels=None, **options):
    options = {"size_px": 24, "geometry": "pad", "contrast": "none", "processes": 1, **options}
    labels = sources.inspect(data).labels if labels is None else labels
    return cache.build(labels, data, folder, **{"fingerprint": "f", "progress": False, **options})


def test_each_image_is_what_prepare_makes_of_its_file(tmp_path, data):
    made = build(data, tmp_path / "cache")
    labels = sources.inspect(data).labels.set_index("id")
    assert sorted(made.ids) == IDS and made.images.shape == (40, 24, 24)
    for key, image in zip(made.ids, made.images, strict=True):
        assert (image == images.prepare(data / labels.loc[key, "path"], 24, "pad", "none")).all()


def test_several_processes_make_the_same_as_one(tmp_path, data):
    one = build(data, tmp_path / "one", processes=1)
    two = build(data, tmp_path / "two", processes=2)
    assert one.ids == two.ids and (one.images == two.images).all()


def test_the_order_of_the_labels_does_not_matter(tmp_path, data):
    labels = sources.inspect(data).labels
    made = build(data, tmp_path / "a", labels)
    other = build(data, tmp_path / "b", labels.iloc[::-1])
    assert made.ids == other.ids and (made.images == other.images).all()


def test_a_cache_that_is_there_is_opened_and_not_made_again(tmp_path, data, monkeypatch):
    build(data, tmp_path / "cache")
    labels = sources.inspect(data).labels
    monkeypatch.setattr(ingest, "ingest", None)
    assert len(build(data, tmp_path / "cache", labels).ids) == 40


@pytest.mark.parametrize(
    "change",
    [{"size_px": 16}, {"geometry": "squash"}, {"contrast": "clahe"}, {"fingerprint": "g"}],
)
def test_whatever_a_cache_depends_on_makes_another(tmp_path, data, change):
    first = build(data, tmp_path / "cache")
    pixels = first.images.copy()
    (name,) = change
    with pytest.raises(UserError, match=f"a stale image cache: its {name} is"):
        cache.open(tmp_path / "cache", replace(first.key, **change))
    second = build(data, tmp_path / "cache", **change)
    assert second.key == replace(first.key, **change)
    if name != "fingerprint":
        assert second.images.shape != pixels.shape or (second.images != pixels).any()


def test_a_cache_of_an_older_image_code_is_made_again(tmp_path, data, monkeypatch):
    first = build(data, tmp_path / "cache")
    about = json.loads((tmp_path / "cache" / "cache.json").read_text())
    (tmp_path / "cache" / "cache.json").write_text(json.dumps(about | {"version": 0}))
    with pytest.raises(UserError, match="its version is 0"):
        cache.open(tmp_path / "cache", first.key)
    assert build(data, tmp_path / "cache").key == first.key


@pytest.mark.parametrize("name", ["images.npy", "ids.csv", "cache.json"])
@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_damaged_cache_is_never_opened_and_mended_by_building(tmp_path, data, name, damage):
    first = build(data, tmp_path / "cache")
    pixels = first.images.copy()
    file = tmp_path / "cache" / name
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError):
        cache.open(tmp_path / "cache", first.key)
    assert (build(data, tmp_path / "cache").images == pixels).all()


def test_images_that_do_not_decode_are_all_named_and_nothing_is_left_that_passes_for_whole(
    tmp_path, data
):
    labels = sources.inspect(data).labels
    for key in ("103", "117"):
        (data / "boneage-training-dataset" / f"{key}.png").write_bytes(b"no image")
    (data / "boneage-training-dataset" / "120.png").unlink()
    with pytest.raises(DataError) as caught:
        build(data, tmp_path / "cache", labels)
    named = {Path(problem.file).stem for problem in caught.value.problems}
    assert named == {"103", "117", "120"}
    assert not (tmp_path / "cache").exists()


def test_an_id_that_occurs_twice_is_refused(tmp_path, data):
    labels = sources.inspect(data).labels
    labels.loc[1, "id"] = labels.loc[0, "id"]
    with pytest.raises(UserError, match="'100' occurs twice"):
        build(data, tmp_path / "cache", labels)


def test_finished_parts_of_an_interrupted_build_are_not_made_again(tmp_path, data, monkeypatch):
    labels = sources.inspect(data).labels
    monkeypatch.setattr(index, "CHUNK", 5)
    real, made = ingest.ingest, []

    def fill_then_die(tasks, *rest):
        if len(made) >= 15:
            raise KeyboardInterrupt
        made.extend(task.rows[0][1] for task in tasks)
        return real(tasks, *rest)

    monkeypatch.setattr(ingest, "ingest", fill_then_die)
    with pytest.raises(KeyboardInterrupt):
        build(data, tmp_path / "cache", labels)
    assert not (tmp_path / "cache").exists()

    def fill_and_note(tasks, *rest):
        made.extend(task.rows[0][1] for task in tasks)
        return real(tasks, *rest)

    monkeypatch.setattr(ingest, "ingest", fill_and_note)
    resumed = build(data, tmp_path / "cache", labels)
    assert sorted(made) == list(range(40))
    assert (resumed.images == build(data, tmp_path / "whole", labels).images).all()
    assert not (tmp_path / "cache.partial").exists()


def test_an_interrupted_build_of_other_data_is_not_gone_on_with(tmp_path, data, monkeypatch):
    labels = sources.inspect(data).labels
    monkeypatch.setattr(index, "CHUNK", 5)
    real, calls = ingest.ingest, []

    def fill_once(tasks, *rest):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(tasks, *rest)

    monkeypatch.setattr(ingest, "ingest", fill_once)
    with pytest.raises(KeyboardInterrupt):
        build(data, tmp_path / "cache", labels, contrast="clahe")
    monkeypatch.setattr(ingest, "ingest", real)
    resumed = build(data, tmp_path / "cache", labels)
    assert (resumed.images == build(data, tmp_path / "whole", labels).images).all()


def test_a_build_killed_outright_is_taken_up_where_it_was(tmp_path):
    data = write_set(tmp_path / "data", [str(k) for k in range(300)])
    # Each chunk takes a while, so that the kill falls into the middle.
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from h2a_lib.data import cache, index, ingest, sources\n"
        "data, folder = map(Path, sys.argv[1:])\n"
        "labels, real = sources.inspect(data).labels, ingest.ingest\n"
        "def slow(*all):\n    time.sleep(0.2)\n    return real(*all)\n"
        "ingest.ingest, index.CHUNK = slow, 10\n"
        "cache.build(labels, data, folder, size_px=24, geometry='pad', contrast='none',\n"
        "    fingerprint='f')"
    )
    killed = subprocess.Popen([sys.executable, "-c", script, str(data), str(tmp_path / "cache")])
    log = tmp_path / "cache.partial" / "done"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") >= 30):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "cache").exists()
    before = len(log.read_text().splitlines())
    assert 30 <= before < 300
    labels = sources.inspect(data).labels
    resumed = build(data, tmp_path / "cache", labels)
    assert (resumed.images == build(data, tmp_path / "whole", labels).images).all()


def test_a_script_without_a_main_guard_can_build_with_several_processes(tmp_path, data):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom h2a_lib.data import cache, sources\n"
        "data, folder = map(Path, sys.argv[1:])\n"
        "made = cache.build(sources.inspect(data).labels, data, folder, size_px=24,\n"
        "    geometry='pad', contrast='none', fingerprint='f', processes=2)\n"
        "print(made.images.shape)\n"
    )
    command = [sys.executable, str(script), str(data), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "(40, 24, 24)\n"), done.stderr


def test_the_cache_cannot_be_written_to_by_mistake(tmp_path, data):
    made = build(data, tmp_path / "cache")
    with pytest.raises(ValueError, match="read-only"):
        made.images[0] = 0
    assert isinstance(made.images, np.memmap)


def test_one_pass_checks_the_files_and_fills_all_arrays(tmp_path, data, monkeypatch):
    read = []
    real = ingest.ingest
    monkeypatch.setattr(
        ingest,
        "ingest",
        lambda tasks, *rest: (read.extend(task.path for task in tasks), real(tasks, *rest))[1],
    )
    wanted = [
        cache.ArraySettings(24, "pad", "none"),
        cache.ArraySettings(32, "center_crop", "clahe"),
    ]
    root = tmp_path / "root"
    inspection = sources.inspect(data, cache_root=root, arrays=wanted, processes=1)
    inspection.finish_arrays()
    assert len(read) == len(set(read)) == 40
    labels = inspection.labels.set_index("id")
    for settings in wanted:
        key = cache.Key(inspection.fingerprint, *settings)
        made = cache.open(settings.folder(root), key)
        for name, image in zip(made.ids, made.images, strict=True):
            assert (image == images.prepare(data / labels.loc[name, "path"], *settings)).all()
    index.measurements(inspection.labels, data, root)
    again = sources.inspect(data, cache_root=root, arrays=wanted, processes=1)
    assert len(read) == 40 and again.arrays == []
