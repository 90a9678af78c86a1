"""`python -m sparring`, and the entry point of the command `sparring`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

INTERRUPTED = 130  # as in cli.display.errors, which is not imported yet


def main() -> None:
    """Run the command line; Ctrl-C while Python still imports it ends with 130 and no traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as below nohup, or another's
        signal.signal(signal.SIGINT, _leave)
    from .cli import main as run

    signal.signal(signal.SIGINT, before)
    run()


def _leave(*_: Any) -> None:
    os.write(sys.stderr.fileno(), b"interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
