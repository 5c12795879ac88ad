"""The command line: ``pxrdbench VERB``. Parse, call, print."""

import sys

from pxrdbench.cli.app import app
from pxrdbench.errors import PxrdbenchError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; a refused input is one sentence and exit status 2."""
    try:
        app()
    except PxrdbenchError as error:
        print(f"pxrdbench: {error}", file=sys.stderr)
        sys.exit(2)
