"""The kernels that notebooks run in."""

import sys

from jupyter_client.manager import AsyncKernelManager

from h2a_lib.pipeline import forkserver as warm


class WarmKernelManager(AsyncKernelManager):
    """Starts a kernel in a process that has the heavy libraries already, where there is one."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Return the kernel's command: `python … -m ipykernel_launcher -f …`, warm."""
        command = super().format_kernel_cmd(extra_arguments)
        return [sys.executable, "-m", warm.__name__, *command[command.index("-m") + 1 :]]

    async def _async_interrupt_kernel(self) -> None:
        # Not at the end: the kernel would report the interrupt as an error before it is killed.
        if not self.shutting_down:
            await super()._async_interrupt_kernel()
