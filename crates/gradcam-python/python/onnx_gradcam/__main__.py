"""The command line ``gradcam``: ``python -m onnx_gradcam``."""

from __future__ import annotations

import signal
import sys

from . import _native


def main() -> int:
    """Runs the command line with the arguments of the process."""
    # Python's handler would wait for the end of the command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.command_line(sys.argv[1:], [sys.executable, "-m", "onnx_gradcam"])


if __name__ == "__main__":
    sys.exit(main())
