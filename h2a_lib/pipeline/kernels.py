"""The kernels that notebooks run in."""

import sys

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from h2a_lib.pipeline import forkserver


class StudyKernelManager(AsyncKernelManager):
    """Starts kernels of this Python, whatever kernels the user has installed.

    A kernel is a fork of the server of prepared processes, where there is one.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        """Return our own kernel: one called python3 may be another Python's."""
        return KernelSpec(
            argv=[
                *(sys.executable, "-m", forkserver.__name__, "ipykernel_launcher"),
                *("-f", "{connection_file}"),
            ],
            display_name="Hand-To-Age",
            language="python",
        )

    async def _async_interrupt_kernel(self) -> None:
        # Not at the end: the kernel would report the interrupt as an error before it is killed.
        if not self.shutting_down:
            await super()._async_interrupt_kernel()
