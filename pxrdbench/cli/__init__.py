"""The command line: ``pxrdbench VERB``. Parse, call, print."""

import os
import sys
import traceback
import warnings

from pxrdbench.cli.app import app
from pxrdbench.cli.display import tracebacks
from pxrdbench.errors import PxrdbenchError, PxrdbenchWarning

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; a refused input is one sentence and exit status 2.

    ``pxrdbench --verbose VERB`` shows the calls that led there, too.
    """
    _say_warnings_plainly()
    try:
        app()
    except PxrdbenchError as error:
        if tracebacks.shown or os.environ.get("PXRDBENCH_TRACEBACK"):
            traceback.print_exc()
        print(f"pxrdbench: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as left:
        # typer ends in silence; a verb that notes the signal itself has said its word.
        if _comes_of_ctrl_c(left):
            print("pxrdbench: interrupted; what was finished is kept", file=sys.stderr)
        raise


def _say_warnings_plainly() -> None:
    """Write warnings of ours as one sentence, without the place in the code."""
    usual = warnings.formatwarning

    def write(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if issubclass(category, PxrdbenchWarning):
            return f"pxrdbench: warning: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = write


def _comes_of_ctrl_c(left: BaseException) -> bool:
    """Whether nobody caught the KeyboardInterrupt that ends the process."""
    error: BaseException | None = left
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
