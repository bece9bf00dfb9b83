"""The stack's config as one checked object. Its keys are described in Pulumi.yaml."""

import json
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import pulumi
import yaml
from pulumi.runtime import is_config_secret
from pulumi.runtime.config import CONFIG
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from consul_cluster.security_stages import Stage
from errors import UserError
from services.environment import Environment, Location
from services.field_types import Host, Identifier, host


class SettingsError(UserError, pulumi.RunError):
    """A config key is wrong: names it and its file, says what is wrong and what would be right."""


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
        ssl.create_default_context().load_verify_locations(cadata=_certificates(Path(value)))
    except (OSError, ValueError):  # ssl's own errors are of the first kind
        right = f"openssl x509 -in {value} -inform der -out ca.pem makes one of a DER file"
        raise ValueError(f"{value!r} must have a certificate in PEM form, which it has not: {right}") from None
    return value


_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def _certificates(file: Path) -> str:
    """Return the certificates in a PEM file. What stands between them may be in any encoding."""
    content = file.read_bytes()
    return content.decode() if content.isascii() else b"".join(_CERTIFICATE.findall(content)).decode("ascii")


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


_NEEDS_DOCKER = {
    "catalog": "consul-esm runs the checks from a container",
    "files": "they are written into the agent's container",
}

# https://docs.docker.com/reference/cli/docker/container/run/#name
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}")


def _container_name(value: str) -> str:
    if not _CONTAINER_NAME.fullmatch(value):
        raise ValueError(f"{value!r} must be 2 to 63 of the characters A-Z a-z 0-9 - _ . and begin with none of - _ .")
    return value


ContainerName = Annotated[str, AfterValidator(_container_name)]
Provided = Literal["created", "existing"]
Url = Annotated[str, AfterValidator(_url)]
Image = Annotated[str, AfterValidator(_image)]
Unset = BeforeValidator(_unset)
Structured = BeforeValidator(_structured)


_SANDBOX_URL = re.compile(r"http://127(\.[0-9]{1,3}){3}:8500")


def _is_loopback(value: str) -> bool:
    with suppress(ValueError):
        return ip_address(value).is_loopback
    return False


def _is_https(address: str) -> bool:
    return address.startswith("https:")


class Settings(BaseModel):
    """What a stack decides."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    datacenter: Identifier = STAGING_NAMES.datacenter
    agent_node: Identifier = STAGING_NAMES.agent_node
    agent_container: Annotated[ContainerName | None, Unset] = None
    server_node: Identifier = STAGING_NAMES.server_node
    server_container: Annotated[ContainerName | None, Unset] = None
    network_name: ContainerName = STAGING_NAMES.network
    registration: Literal["agent", "catalog", "files"] = "agent"
    agent_address: Annotated[Url | None, Unset] = None
    agent_token: Annotated[str | None, Unset, Field(repr=False)] = None
    agent_ca_file: Annotated[Annotated[str, AfterValidator(_file)] | None, Unset] = None
    server_address: Url
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,63}$")] = "staging"
    service_host: Annotated[Host | None, Unset] = None
    locations: Annotated[Mapping[Identifier, Annotated[Location, PlainValidator(_location)]], Structured] = {}
    leave_out: Annotated[frozenset[Identifier], Structured] = frozenset()
    adopt: bool = False
    docker: bool = True
    sandbox: bool = False
    network: Provided = "existing"
    server: Provided = "existing"
    stand_ins: bool = False
    consul_image: Image = "hashicorp/consul:1.17.2"
    esm_image: Image = "hashicorp/consul-esm:0.9.0"
    external_node: Identifier = "staging-external"
    security: Annotated[Stage | None, BeforeValidator(_stage)] = None
    publish_on: Annotated[str, AfterValidator(_interface)] = "127.0.0.1"

    @model_validator(mode="after")
    def _locations_in_sandbox(self) -> Self:
        for service_id, (name, _) in self.locations.items():
            if self.sandbox and name and not _is_loopback(name):
                raise ValueError(
                    f"locations: {service_id}: {name!r} must be a loopback address with sandbox, such as 127.0.0.4"
                )
        return self

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if wrong := (
            self._unfit_names()
            or self._unfit_for_registration()
            or self._unfit_for_docker()
            or self._unfit_for_sandbox()
            or self._unfit_for_security()
        ):
            raise ValueError(wrong)
        return self

    def _unfit_names(self) -> str | None:
        names = self.names
        for key, pair in (
            ("agentNode", (names.agent_node, names.server_node)),
            ("agentContainer", (names.agent_container, names.server_container)),
        ):
            if pair[0].lower() == pair[1].lower():
                return f"{key}: {pair[0]!r} must be another name than the server's"
        return None

    def _unfit_for_registration(self) -> str | None:
        kind = self.registration
        if kind != "files" and not self.agent_address:
            return (
                f"agentAddress: is missing: registration {kind} needs the agent's API, such as http://127.0.0.1:8501; "
                "where it cannot be reached from here, set registration: files"
            )
        if kind != "agent" and not self.docker:
            return f"docker: must be true with registration {kind}: {_NEEDS_DOCKER[kind]}"
        if kind != "agent" and self.adopt:
            return f"adopt: must be false with registration {kind}: it is for agent"
        if kind == "catalog" and self.external_node in (self.agent_node, self.server_node):
            return (
                f"externalNode: {self.external_node!r} is an agent's own node, which would remove all of them again: "
                "it must be a node of its own, such as staging-external"
            )
        return None

    def _unfit_for_docker(self) -> str | None:
        if not self.docker or not self.agent_address:
            return None
        if self.server == "created" and self.agent_publish == self.server_publish:
            return "serverAddress: must have another port than agentAddress: both are published on publishOn"
        return None

    def _unfit_for_sandbox(self) -> str | None:
        if not self.sandbox:
            return None
        if self.docker:
            return "docker: must be false with sandbox: Consul and the stand-ins are processes"
        for key, address in (("agentAddress", self.agent_address), ("serverAddress", self.server_address)):
            if not (address and _SANDBOX_URL.fullmatch(address)):
                return f"{key}: {address!r} must be http://127.X.Y.Z:8500 with sandbox: Consul's own port, on loopback"
        if self.agent_address == self.server_address:
            return "serverAddress: must be another address than agentAddress with sandbox: both use Consul's own ports"
        if not (self.service_host and _is_loopback(self.service_host)):
            return f"serviceHost: {self.service_host!r} must be a loopback address with sandbox, such as 127.0.0.3"
        return None

    def _unfit_for_security(self) -> str | None:
        stage = self.stage
        if not self.docker:
            wrong = f"security: {stage!r} must be off without docker: it is for the Consul that this stack deploys"
            return wrong if stage != "off" else None
        if stage != "off" and self.server == "existing":
            return f"security: {stage!r} must be off with server: existing: only who deploys the server can secure it"
        if stage != "off" and (self.agent_token or self.agent_ca_file):
            key = "agentToken" if self.agent_token else "agentCaFile"
            return f"{key}: must not be set with security {stage}: the stack makes its own tokens and authority"
        deployed = {"agentAddress": self.agent_address}
        if self.server == "created":
            deployed["serverAddress"] = self.server_address
        for key, address in deployed.items():
            if address and stage == "on" and not _is_https(address):
                return f"{key}: {address!r} must be https with security on: plain HTTP is refused"
            if address and stage == "off" and _is_https(address):
                return f"{key}: {address!r} must be http with security off: what this stack deploys has no TLS then"
        return None

    @property
    def trial(self) -> bool:
        """Whether the stack brings stand-ins of its services: it is there to be tried, with its state in the clone."""
        return self.sandbox or self.stand_ins

    @property
    def stage(self) -> Stage:
        """How far the cluster is secured: altogether, where the stack makes it anew."""
        return self.security or ("on" if self.docker and self.server == "created" else "off")

    @property
    def names(self) -> ClusterNames:
        """What the cluster's parts are called. A container has the name of its node, unless it has one of its own."""
        return ClusterNames(
            self.datacenter,
            self.agent_node,
            self.agent_container or self.agent_node,
            self.server_node,
            self.server_container or self.server_node,
            self.network_name,
        )

    @property
    def services(self) -> Environment:
        """Where the services run, and which the stack has."""
        return Environment(self.environment, self.service_host, self.locations, self.leave_out)

    @property
    def hosts(self) -> frozenset[str]:
        """What the APIs are reached at: what their certificates are to name."""
        urls = filter(None, (self.agent_address, self.server_address))
        return frozenset({"127.0.0.1", self.publish_on, *(urlsplit(url).hostname or "" for url in urls)})

    @property
    def ca(self) -> str | None:
        """The authority behind the APIs' certificates, as PEM text, where it is given."""
        return _certificates(Path(self.agent_ca_file)) if self.agent_ca_file else None

    @property
    def node(self) -> str:
        """The node that the services are registered on."""
        return self.external_node if self.registration == "catalog" else self.agent_node

    @property
    def agent_publish(self) -> tuple[str, int, bool] | None:
        """Address and port of the Docker host at which the agent's API is published, if it is; and whether as HTTPS."""
        return self._publish(self.agent_address) if self.agent_address else None

    @property
    def server_publish(self) -> tuple[str, int, bool]:
        """The same of the server's API and UI."""
        return self._publish(self.server_address)

    def _publish(self, address: str) -> tuple[str, int, bool]:
        return self.publish_on, urlsplit(address).port or 0, _is_https(address)


def load(config: Mapping[str, str], source: str) -> Settings:
    """Check a stack's config.

    Args:
        config: values by key, without the project's name.
        source: the file that they stand in, for messages.

    Raises:
        SettingsError: with a line for each key that is wrong.
    """
    try:
        return Settings.model_validate({_printable(key): value for key, value in config.items()})
    except ValidationError as error:
        lines = [f"{source}: {_line(each)}" for each in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None


def of_stack() -> Settings:
    """Check the config of the stack that the program runs for."""
    project, source = pulumi.get_project(), f"Pulumi.{pulumi.get_stack()}.yaml"
    config = _own(CONFIG.get(), project)
    if config.get("agentToken") and not is_config_secret(f"{project}:agentToken"):
        raise SettingsError(
            f"{source}: agentToken: is in plain text: set it with `pulumi config set --secret agentToken`"
        )
    return load(config, source)


def of_file(path: Path, project: str) -> Settings:
    """Check the config in a stack's file before any engine runs; a secret in it, which engines alone read, is not."""
    content = path.read_bytes()
    try:
        document = yaml.safe_load(content)
    except Exception as error:  # besides its own, PyYAML lets out what int, float and date say of a value
        raise SettingsError(f"{path.name}: is not YAML: {_place(error)}") from None
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise SettingsError(f"{path.name}: config: must map keys to values, such as {project}:environment: staging")
    return load({key: value for key, value in _own(config, project).items() if not _secret(value)}, path.name)


def _printable(key: str) -> str:
    return key.encode("unicode_escape").decode() or "''"


def _place(error: Exception) -> str:
    """Return where a file is not YAML. What stands there may be the token, and is not shown."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark):
        return f"see line {mark.line + 1}, column {mark.column + 1}"
    return "a character, a number or a date in it is none, or it is nested too deep"


def _secret(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _own(config: Mapping[str, Any], project: str) -> dict[str, Any]:
    """Return the project's own keys, which may go without its name in a file: the others are its providers'."""
    own = f"{project}:"
    return {key.removeprefix(own): value for key, value in config.items() if key.startswith(own) or ":" not in key}


def _line(error: Any) -> str:  # noqa: ANN401 - pydantic's error details
    key = error["loc"][0] if error["loc"] else None  # of keys that do not fit together, the message itself names one
    match error["type"]:
        case "missing":
            return f"{key}: is missing: set it with `pulumi config set {key} VALUE`"
        case "extra_forbidden":
            known = ", ".join(str(field.alias) for field in Settings.model_fields.values())
            return f"{key}: is no key of this project: the keys are {known}"
        case "string_pattern_mismatch":
            return f"{key}: {error['input']!r} must be 1 to 63 letters, digits and dashes"
        case "value_error":
            return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
        case "string_type" | "string_unicode":  # the value is not shown: it may be the token, or too long a number
            return f"{key}: must be text: put it in quotes"
    shown = f"{error['input']!r}: " if isinstance(error["input"], str) else ""
    return f"{key}: {shown}{error['msg'][0].lower()}{error['msg'][1:]}"
