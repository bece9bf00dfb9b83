"""Which version of Consul an image has, and which may follow which.

https://developer.hashicorp.com/consul/docs/upgrading
"""

import re

Version = tuple[int, int, int]

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_TAG = re.compile(r":v?(\d+\.\d+\.\d+)(?![.\d])[^/]*$")


def version_in(text: str) -> Version | None:
    """Return the first version in a text, such as what `consul version` prints; None: it has none."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def version_of_image(image: str) -> Version | None:
    """Return the version that an image's tag names; None: it names none."""
    found = _TAG.search(image.partition("@")[0])
    return version_in(found[1]) if found else None


def shown(version: Version) -> str:
    """Return a version as Consul writes it."""
    return ".".join(map(str, version))
