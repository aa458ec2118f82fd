import platform
import resource
import subprocess
import sys

import pytest

# Makes and drops an array of 64 MB, ten times to warm up and ten times counting the new pages.
PAGES = """
import resource
import torch
{prepare}
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for i in range(20):
    if i == 10:
        before = pages()
    torch.ones(1 << 24)
print(pages() - before, torch.get_num_threads())
"""


def run(prepare: str) -> tuple[int, int]:
    script = PAGES.format(prepare=prepare)
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    pages, threads = map(int, printed.split())
    return pages, threads


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is a matter of glibc's")
def test_memory_that_is_freed_is_used_again() -> None:
    in_an_array = (1 << 26) // resource.getpagesize()
    pages, threads = run("from h2a_lib.models import processor; processor.prepare(3)")
    assert threads == 3
    assert pages < in_an_array
    pages, _ = run("")
    assert pages >= 10 * in_an_array
