"""Every file is written completely or not at all, or there is a reason why not."""

from write_points import ROOT, as_table, in_library, in_source

PARTIAL = "in `<cache>.partial`, which nothing reads as a cache until it is renamed"
RENDERED = "in the temporary folder of `render`, renamed when all is checked"
MEMORY = "into memory, not onto the disk"
RENAMED = "a folder is renamed whole"
ATOMIC_INSIDE = "`save` is the function of `study/results.py`, which is atomic"
FETCHED = "under `.part-<name>`, renamed when size and CRC are right"
# The places that write without the atomic writer, and why no incomplete file can appear there.
REASONS = {
    ("h2a_lib/analysis/calibration.py", "as_json"): MEMORY,
    ("h2a_lib/commands/diff.py", "_from_git"): "in a temporary folder that only this command reads",
    ("h2a_lib/data/cache.py", "log"): PARTIAL,
    ("h2a_lib/data/cache.py", "_resume"): PARTIAL,
    ("h2a_lib/data/cache.py", "_reserve"): PARTIAL,
    ("h2a_lib/data/ingest.py", "ingest"): PARTIAL,
    ("h2a_lib/data/fetch.py", "_write"): FETCHED,
    ("h2a_lib/data/fetch.py", "_copy"): FETCHED,
    ("h2a_lib/data/fetch.py", "_bring"): "a link appears whole",
    ("h2a_lib/figures/explore/live.py", "png"): MEMORY,
    ("h2a_lib/phantoms/writing.py", "save_png"): "in the temporary folder of `write`",
    ("h2a_lib/pipeline/graph.py", "mark"): "an empty file appears whole",
    ("h2a_lib/pipeline/perform.py", "set_aside"): RENAMED,
    ("h2a_lib/pipeline/perform.py", "swap_with_old"): RENAMED,
    ("h2a_lib/report/pdf_figures.py", "write_for_pdf"): "in the folder that `stage` renames whole",
    ("h2a_lib/report/staging.py", "_without_tier"): "in the folder that `stage` renames whole",
    ("h2a_lib/report/renderers.py", "render_with_quarto"): RENDERED,
    ("h2a_lib/report/renderers.py", "_pandoc_pdf"): RENDERED,
    ("h2a_lib/report/renderers.py", "compile_typst"): RENDERED,
    ("h2a_lib/study/workspace.py", "show"): ATOMIC_INSIDE,
    ("h2a_lib/study/results.py", "display_drawing"): MEMORY,
}


def test_each_place_that_writes_is_atomic_or_has_its_reason():
    result = list(in_library())
    assert len(result) > 30, "the search finds what there is"
    bare = {(file, function): call for file, function, call, atomic in result if not atomic}
    unknown = {place: call for place, call in bare.items() if place not in REASONS}
    assert not unknown, (
        "write through h2a_lib.files, or say in REASONS why no incomplete file can appear"
    )
    assert set(REASONS) <= set(bare), "a reason for a place that is no more"


def test_a_new_place_is_found_however_it_writes():
    new = """
import numpy as np, torch, cv2, json, shutil
from h2a_lib.files import write_atomically, write_json
def f(path, frame, figure, x):
    path.write_text("half")
    open(path, "w").write("half")
    with path.open("ab") as file:
        json.dump(x, file)
    frame.to_csv(path)
    figure.savefig(path)
    torch.save(x, path)
    np.save(path, x)
    cv2.imwrite(str(path), x)
    shutil.copyfile(path, path)
    path.replace(path)
def g(path, x):
    write_json(path, x)
    with write_atomically(path) as temporary:
        temporary.write_text("whole")
def harmless(path, frame, text):
    open(path).read()
    path.open("rb")
    frame.to_csv()
    text.replace("a", "b")
    frame.copy()
"""
    result = list(in_source(new, "new.py"))
    assert [call for _, function, call, atomic in result if function == "f" and not atomic] == [
        *("write_text", "open", "open", "dump", "to_csv", "savefig", "save", "save", "imwrite"),
        *("copyfile", "replace"),
    ]
    assert all(atomic for _, function, _, atomic in result if function == "g")
    assert not [call for _, function, call, _ in result if function == "harmless"]


LIST = ROOT / "docs" / "write-points.md"
HEAD = """# Where files are written

Every place of the library and the notebooks that writes a file, found by reading the code; written
by `python tests/faults/test_write_points.py`. A test fails when a place is not in this list, or
writes without the atomic writer (`h2a_lib/files.py`) and without a reason. What was injected at
them is in [reliability.md](reliability.md).

"""


def test_the_docs_list_each_place():
    assert LIST.read_text(encoding="utf-8") == HEAD + as_table(REASONS) + "\n", (
        "run `python tests/faults/test_write_points.py`, which writes the list"
    )


if __name__ == "__main__":
    LIST.write_text(HEAD + as_table(REASONS) + "\n", encoding="utf-8")
