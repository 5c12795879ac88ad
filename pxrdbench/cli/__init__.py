"""The command line: ``pxrdbench VERB``. Parse, call, print."""

import os
import sys
import traceback

from pxrdbench.cli.app import app
from pxrdbench.cli.display import tracebacks
from pxrdbench.errors import PxrdbenchError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; a refused input is one sentence and exit status 2.

    ``pxrdbench --verbose VERB`` shows the calls that led there, too.
    """
    try:
        app()
    except PxrdbenchError as error:
        if tracebacks.shown or os.environ.get("PXRDBENCH_TRACEBACK"):
            traceback.print_exc()
        print(f"pxrdbench: {error}", file=sys.stderr)
        sys.exit(2)
