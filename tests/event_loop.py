"""Runs what is asynchronous."""

import asyncio
from collections.abc import Coroutine
from contextlib import closing
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine, and return its result. `asyncio.run` would take away the loop that Pulumi's SDK finds."""
    with closing(asyncio.new_event_loop()) as loop:
        return loop.run_until_complete(work)
