"""The types of the settings: what each value must be, and what it becomes."""

import binascii
import json
import os
import re
import ssl
from base64 import b64decode
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from consul_cluster.security_stages import Stage
from consul_cluster.template_files import TEMPLATE_FILES
from services.environment import Location
from services.field_types import Identifier, host

# urlsplit is no judge of a host: it drops what stands beside brackets, and takes the sign of Kelvin for a `k`.
_URL = re.compile(r"https?://(\[(?P<ipv6>[^]]*:[^]]*)\]|(?P<host>[^]:/]+)):(?P<port>[1-9][0-9]{0,4})/*")
_PORTS = range(1, 65536)


def _url(value: str) -> str:
    if "@" in value:  # what stands before it may be secret, and is not shown
        raise ValueError("must be http://HOST:PORT or https://HOST:PORT, without a user or password")
    found = _URL.fullmatch(value)
    try:
        right = found and int(found["port"]) in _PORTS and host(found["ipv6"] or found["host"])
    except ValueError:  # a host that is none
        right = None
    if not right:
        raise ValueError(f"{value!r} must be http://HOST:PORT or https://HOST:PORT, and nothing else")
    return value.rstrip("/")


def _file(value: str) -> str:
    try:
        found = Path(value).is_file()
    except OSError:  # longer than a path can be, or in a folder that may not be searched
        found = False
    if not found:
        raise ValueError(f"{value!r} must be a PEM file that exists where Pulumi runs")
    try:
        ssl.create_default_context().load_verify_locations(cadata=certificates(Path(value)))
    except (OSError, ValueError):  # ssl's own errors are of the first kind
        right = f"openssl x509 -in {value} -inform der -out ca.pem makes one of a DER file"
        raise ValueError(f"{value!r} must have a certificate in PEM form, which it has not: {right}") from None
    return value


# Characters: what a pipe takes at once. https://man7.org/linux/man-pages/man7/pipe.7.html
_MOST_OF_A_KEY = 16384

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def certificates(file: Path) -> str:
    """Return the certificates in a PEM file. What stands between them may be in any encoding."""
    content = file.read_bytes()
    return content.decode() if content.isascii() else b"".join(_CERTIFICATE.findall(content)).decode("ascii")


def is_key_of(certificate: Path, key: str) -> bool:
    """Return whether PEM text is the private key of a certificate, in the form in which Consul reads one."""
    read, write = os.pipe()  # ssl reads files alone, and no file has to have a secret
    try:
        with os.fdopen(write, "w") as pipe:
            pipe.write(key[:_MOST_OF_A_KEY])
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, f"/dev/fd/{read}", password="")
    except (OSError, ValueError):
        return False
    finally:
        os.close(read)
    return True


def _unset(value: object) -> object:
    """Pulumi cannot declare a key without a default as optional: an empty text, or YAML's empty binary, is not set."""
    return None if value in ("", b"") else value


def _structured(value: object) -> object:
    """The engine hands lists and maps on as JSON."""
    with suppress(ValueError):
        return json.loads(value) if isinstance(value, str) else value
    return value


_LOCATION = re.compile(r"(\[(?P<ipv6>[^]]*:[^]]*)\]|(?P<host>[^]:/]+))?(:(?P<port>[1-9][0-9]{0,4}))?")


def _location(value: object) -> Location:
    """Accept `HOST:PORT`, `HOST` or `:PORT`."""
    found = _LOCATION.fullmatch(value) if isinstance(value, str) and value else None
    if not found or (found["port"] and int(found["port"]) not in _PORTS):
        raise ValueError(f"{value!r} must be HOST:PORT, HOST or :PORT, such as 10.0.0.7:8216")
    name = found["ipv6"] or found["host"]
    return Location(host(name) if name else None, int(found["port"]) if found["port"] else None)


def _stage(value: object) -> object:
    """YAML has on and off as truth values, unless they are quoted."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return {"true": "on", "false": "off"}.get(value, _unset(value)) if isinstance(value, str) else value


def _interface(value: str) -> str:
    with suppress(ValueError):
        if "%" not in value:  # a zone, which may be any text
            return str(ip_address(value))
    raise ValueError(f"{value!r} must be an IP address of the Docker host, such as 127.0.0.1")


# A tag that names one version, and a digest where the stack gives one: https://github.com/distribution/reference
_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"({_LABEL}(\.{_LABEL})*:[0-9]+/)?{_PART}(/{_PART})*"
    r":(?!latest(@|$))[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@sha256:[0-9a-f]{64})?"
)


def _image(value: str) -> str:
    if not _IMAGE.fullmatch(value):
        raise ValueError(
            f"{value!r} must be an image with an exact tag, such as hashicorp/consul:1.17.2, and not latest"
        )
    return value


# https://docs.docker.com/reference/cli/docker/container/run/#name
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}")


def _container_name(value: str) -> str:
    if not _CONTAINER_NAME.fullmatch(value):
        raise ValueError(f"{value!r} must be 2 to 63 of the characters A-Z a-z 0-9 - _ . and begin with none of - _ .")
    return value


# Bytes: https://developer.hashicorp.com/consul/docs/agent/config/config-files#encrypt
_GOSSIP_KEYS = (16, 24, 32)


def _gossip_key(value: str) -> str:
    try:
        right = len(b64decode(value, validate=True)) in _GOSSIP_KEYS
    except (binascii.Error, ValueError):
        right = False
    if not right:  # it is secret, and not shown
        raise ValueError("must be 16, 24 or 32 bytes in base64, as `consul keygen` prints them")
    return value


def _template_folder(value: str) -> str:
    try:
        found = any(Path(value).glob(TEMPLATE_FILES))
    except OSError:  # longer than a path can be, or in a folder that may not be searched
        found = False
    if not found:
        raise ValueError(f"{value!r} must be a folder that has files NAME.ctmpl, such as templates")
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or len({value.lower() for value in values}) < len(values):  # Consul and Docker know no case
        raise ValueError(f"{list(values)!r} must be one name or more, each once, such as [1, 2]")
    return values


def _texts(value: object) -> object:
    """YAML has numbers where a name is a number."""
    listed = _structured(value)
    return [str(each) if isinstance(each, int) else each for each in listed] if isinstance(listed, list) else listed


Unset = BeforeValidator(_unset)
Structured = BeforeValidator(_structured)
ContainerName = Annotated[str, AfterValidator(_container_name)]
Provided = Literal["created", "existing"]
Url = Annotated[str, AfterValidator(_url)]
Image = Annotated[str, AfterValidator(_image)]
TemplateFolder = Annotated[Annotated[str, AfterValidator(_template_folder)] | None, Unset]
Interface = Annotated[str, AfterValidator(_interface)]
CertificateFile = Annotated[Annotated[str, AfterValidator(_file)] | None, Unset]
Secret = Annotated[str | None, Unset, Field(repr=False)]
GossipKey = Annotated[Annotated[str, AfterValidator(_gossip_key)] | None, Unset, Field(repr=False)]
Generations = Annotated[tuple[Identifier, ...], AfterValidator(_unique), BeforeValidator(_texts)]
SecurityStage = Annotated[Stage | None, BeforeValidator(_stage)]
ServiceLocation = Annotated[Location, PlainValidator(_location)]
