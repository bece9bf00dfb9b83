"""Gets both programs and prints where they are: `python -m toolchain`."""

import sys

from toolchain import ToolchainError, consul, pulumi
from toolchain.progress import say


def main() -> int:
    """Return the exit code: 0, or 1 where a program cannot be had, or 130 where a person stopped it."""
    try:
        for get in (pulumi, consul):
            sys.stdout.write(f"{get()}\n")
    except ToolchainError as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


sys.exit(main())
