"""`python -m workbench.measure`."""

from ..ending import run_command


def _run() -> int:
    from ..ending import interrupts_raise

    interrupts_raise()
    from .command import main

    return main()


run_command("measure", _run)
