"""How pydantic's errors are told to a person."""

from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def field_and_message(error: ErrorDetails) -> tuple[str, str]:
    """Return the field that is wrong, such as `http.path`, and why; pydantic puts `Value error, ` before our words."""
    return ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")


def reasons(error: Exception) -> Iterator[str]:
    """Yield what is wrong: each of pydantic's errors, or what another error says, without a syntax error's place."""
    if isinstance(error, ValidationError):
        yield from (": ".join(filter(None, field_and_message(each))) for each in error.errors(include_url=False))
    else:
        yield error.msg if isinstance(error, SyntaxError) else str(error)
