"""How pydantic's errors are told to a person."""

from pydantic_core import ErrorDetails


def field_and_message(error: ErrorDetails) -> tuple[str, str]:
    """Return the field that is wrong, such as `http.path`, and why; pydantic puts `Value error, ` before our words."""
    return ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
