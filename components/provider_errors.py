"""Errors of a dynamic provider, without a stack trace.

This is the project's only patch of another party's module, since there is no other way: the process in which Pulumi
runs a dynamic provider sends `traceback.format_exc()` to the engine for every exception, whatever its class.
https://github.com/pulumi/pulumi, sdk/python/lib/pulumi/dynamic/__main__.py, `_abort_with_traceback`

The patch replaces the name `traceback` in that module alone, and only in the process that runs it as `__main__`: the
standard library's module stays as it is. If a later SDK has no such function, nothing is replaced.
"""

import sys
import traceback
from types import SimpleNamespace

from errors import UserError


def send_user_errors_without_traceback() -> None:
    """Make the process of a dynamic provider send the message alone of a `UserError`, such as a `ConsulError`."""
    process = vars(sys.modules["__main__"])
    if "_abort_with_traceback" in process:
        process["traceback"] = SimpleNamespace(format_exc=_format_error)


def _format_error() -> str:
    error = sys.exc_info()[1]
    return str(error) if isinstance(error, UserError) else traceback.format_exc()
