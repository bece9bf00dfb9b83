"""The templates of consul-template, and which services they name.

https://github.com/hashicorp/consul-template/blob/v0.41.1/docs/templating-language.md
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from consul_cluster.agent_configuration import ESM_NODE
from errors import UserError

_SUFFIX = ".ctmpl"

TEMPLATE_FILES = f"[!.]*{_SUFFIX}"
"""What the names of templates look like in a folder."""

_OTHERS = ("consul", ESM_NODE)  # services that the catalog can have, and no roster has

# What consul-template looks up by a name that stands in the template.
# https://github.com/hashicorp/consul-template/blob/v0.41.1/docs/templating-language.md#service
_COMMENT = re.compile(r"\{\{(- )?\s*/\*.*?\*/\s*( -)?\}\}", re.DOTALL)
_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_LOOK_UP = re.compile(r'(?<![\w.$])(?:service|connect)\s+(?:"(?P<quoted>[^"\\\n]*)"|`(?P<raw>[^`]*)`)')

# `<tag>.<name>?<query>@<datacenter>~<near>|<filter>`
_QUERY = re.compile(
    r"([\w=:.-]+\.)?(?P<name>[\w-]+)(\?(?P<query>[\w=&-]+))?(@(?P<datacenter>[\w.-]+))?(~[\w.-]+)?(\|[\w,]+)?"
)


class TemplateError(UserError):
    """A template cannot be read: names its file, and says what is wrong."""


@dataclass(frozen=True)
class Template:
    """One template.

    Attributes:
        path: of its file, as a message names it.
        content: of its file.
    """

    path: str
    content: str

    @property
    def source(self) -> str:
        """The name of its file."""
        return Path(self.path).name

    @property
    def destination(self) -> str:
        """The name of the file that is written of it."""
        return self.source.removesuffix(_SUFFIX)


def read_templates(folder: str | None) -> Sequence[Template]:
    """Return the templates in a folder, by their names' order; none without a folder.

    Raises:
        TemplateError: one of them is no text.
    """
    return [Template(str(path), _text(path)) for path in sorted(Path(folder).glob(TEMPLATE_FILES))] if folder else []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = "is not UTF-8 text" if isinstance(error, ValueError) else f"cannot be read: {error.strerror}"
        raise TemplateError(f"{path}: {why}") from None


def unknown_services(templates: Sequence[Template], names: Collection[str], datacenter: str) -> Iterator[str]:
    """Yield a line for each service that a template looks up by its name, and that a stack does not have.

    A name that the template computes is none of them, nor is that of a service in another datacenter.

    Args:
        templates: of the stack.
        names: of its services.
        datacenter: of its Consul.
    """
    known = {name.lower() for name in (*names, *_OTHERS)}  # the catalog does not know upper from lower case
    for template in templates:
        for name in dict.fromkeys(_services(template.content, datacenter)):
            if name.lower() not in known:
                near = get_close_matches(name, names, 1)
                yield f"{template.path}: {name!r} is no name of a service of this stack" + (
                    f": {near[0]} is" if near else ""
                )


def _services(content: str, datacenter: str) -> Iterator[str]:
    for action in _ACTION.findall(_COMMENT.sub("", content)):
        for look_up in _LOOK_UP.finditer(action):
            query = _QUERY.fullmatch(look_up["quoted"] or look_up["raw"] or "")  # consul-template refuses what is none
            if query and not query["query"] and query["datacenter"] in (None, datacenter):
                yield query["name"]
