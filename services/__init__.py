"""What is registered, as data.

A mistake in a file that people edit here is one message with its place, and no stack trace, whatever imports it first.
"""

import sys
import traceback
from importlib import import_module
from pathlib import Path

from services.validation_errors import reasons


def _place(mistake: Exception) -> str:
    """Return the file and line of a mistake: of a statement here that was run as its file was imported."""
    if isinstance(mistake, SyntaxError):
        return f"services/{Path(str(mistake.filename)).name}, line {mistake.lineno}"
    frames = traceback.extract_tb(mistake.__traceback__)
    here = [frame for frame in frames if frame.name == "<module>" and Path(frame.filename).parent == _FOLDER]
    return f"services/{Path(here[-1].filename).name}, line {here[-1].lineno}"


_FOLDER = Path(__file__).parent

try:
    import_module("services.roster")  # which imports all that people edit
except (SyntaxError, NameError, AttributeError, ImportError, TypeError, ValueError) as mistake:
    sys.stderr.write(f"error: {_place(mistake)}: {'; '.join(reasons(mistake))}\n")
    raise SystemExit(2) from None
