"""The reference of the settings, from settings.py: the table of docs/configuration.md, and `config` in Pulumi.yaml.

`make docs` writes both.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml
from pydantic.fields import FieldInfo

import settings
from settings import Settings

ROOT = Path(__file__).parent
PAGE, PROJECT = ROOT / "docs" / "configuration.md", ROOT / "Pulumi.yaml"

_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_CONFIG = re.compile(r"^config:\n.*", re.MULTILINE | re.DOTALL)
_PAGE_OF_DOCS = re.compile(r"docs/([a-z-]+\.md)")


def page() -> str:
    """Return docs/configuration.md with the table of today's settings."""
    rows = [f"| `{field.alias}` | {_meaning(field)} | {_shown_default(field)} |" for field in _fields()]
    table = "\n".join(["| key | meaning | default |", "| --- | --- | --- |", *rows]) + "\n"
    return _TABLE.sub(lambda _: _PAGE_OF_DOCS.sub(r"[\g<0>](\1)", table), PAGE.read_text())


def project() -> str:
    """Return Pulumi.yaml with the keys that Pulumi can declare."""
    config = {str(field.alias): _declaration(field) for field in _fields() if _is_declared(field)}
    return _CONFIG.sub(lambda _: yaml.safe_dump({"config": config}, sort_keys=False, width=118), PROJECT.read_text())


def _fields() -> Iterator[FieldInfo]:
    yield from Settings.model_fields.values()


def _is_declared(field: FieldInfo) -> bool:
    """Return whether Pulumi can declare a key: it takes no secret, list or map as optional.

    https://www.pulumi.com/docs/iac/concepts/projects/project-file/#config-options
    """
    return field.repr and (field.is_required() or field.default is None or isinstance(field.default, str | bool))


def _declaration(field: FieldInfo) -> dict[str, object]:
    kind = "boolean" if isinstance(field.default, bool) else "string"
    default = {} if field.is_required() else {"default": "" if field.default is None else field.default}
    return {"type": kind, **default, "description": _description(field)}


@cache
def descriptions() -> Mapping[str, str]:
    """Return the text below each field, by its key. Pydantic would read it too, and take 0.1 s for it in every run."""
    [fields] = (
        node.body
        for node in ast.parse(Path(settings.__file__).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    return {
        str(Settings.model_fields[field.target.id].alias): " ".join(str(text.value.value).split())
        for field, text in pairwise(fields)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def _meaning(field: FieldInfo) -> str:
    return _description(field) if field.repr else f"Secret. {_description(field)}"


def _description(field: FieldInfo) -> str:
    return descriptions()[str(field.alias)]


def _shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None or field.default in ({}, frozenset()):
        return "none"
    return f"`{_text(field.default)}`"


def _text(default: object) -> str:
    if isinstance(default, tuple):
        return f"[{', '.join(default)}]"
    return default if isinstance(default, str) else str(default).lower()


if __name__ == "__main__":
    PAGE.write_text(page())
    PROJECT.write_text(project())
