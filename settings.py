"""The stack's config as one checked object."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import pulumi
import yaml
from pulumi.runtime import is_config_secret
from pulumi.runtime.config import CONFIG
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from consul_cluster.security_stages import Stage
from docker_hosts import DockerHost, Hosts, HostSettings, Publish, docker_hosts, single_host
from errors import UserError
from services.environment import Environment
from services.field_types import Host, Identifier
from setting_types import (
    CertificateFile,
    ContainerName,
    Generations,
    GossipKey,
    Image,
    Interface,
    Provided,
    Secret,
    SecurityStage,
    ServiceLocation,
    Structured,
    TemplateFolder,
    Unset,
    Url,
    certificates,
    is_key_of,
)


class SettingsError(UserError, pulumi.RunError):
    """A config key is wrong: names it and its file, says what is wrong and what would be right."""


_NEEDS_DOCKER = {
    "catalog": "consul-esm runs the checks from a container",
    "files": "they are written into the agent's container",
}

# https://developer.hashicorp.com/consul/docs/architecture/consensus#deployment-table
_SERVER_COUNTS = (1, 3, 5)

# Docker makes a container's name its host name, and Consul a node's name a part of a DNS name.
_LONGEST_NAME = 63

_SANDBOX_URL = re.compile(r"http://127(\.[0-9]{1,3}){3}:8500")


def _is_loopback(value: str) -> bool:
    with suppress(ValueError):
        return ip_address(value).is_loopback
    return False


def _is_ip_address(value: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(value))
    return False


def _is_https(address: str) -> bool:
    return address.startswith("https:")


def _pem(file: str | None) -> str | None:
    return certificates(Path(file)) if file else None


def _elsewhere(key: str, url: str | None, addresses: Sequence[str]) -> str | None:
    if not url or urlsplit(url).hostname in addresses:
        return None
    return f"{key}: {url!r} must have the address of one of the hosts that have it, such as {addresses[0]}"


class Settings(BaseModel):
    """What a stack decides. `make docs` writes the descriptions to docs/configuration.md and Pulumi.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    datacenter: Identifier = STAGING_NAMES.datacenter
    """Consul's datacenter, of server and agent."""
    agent_node: Identifier = STAGING_NAMES.agent_node
    """The shared agent's node in the catalog."""
    agent_container: Annotated[ContainerName | None, Unset] = None
    """The shared agent's container. Empty: it has the name of its node."""
    server_node: Identifier = STAGING_NAMES.server_node
    """The server's node in the catalog."""
    server_container: Annotated[ContainerName | None, Unset] = None
    """The server's container. Empty: it has the name of its node."""
    network_name: ContainerName = STAGING_NAMES.network
    """The Docker network of all containers."""
    registration: Literal["agent", "catalog", "files"] = "agent"
    """How services are registered: `agent`, over the agent's API; `catalog`, by the Consul provider; `files`, in the
    agent's definition files (docs/registrations.md)."""
    agent_address: Annotated[Url | None, Unset] = None
    """The agent's API as seen from where Pulumi runs, such as `http://127.0.0.1:8501`. Empty: it is not published,
    which only `files` allows."""
    agent_token: Secret = None
    """ACL token of the registrations, in a Consul that others secured (docs/joining.md)."""
    agent_ca_file: CertificateFile = None
    """PEM file of the authority behind the certificate of an `https` address. Empty: that of `clusterCaFile`, else the
    system's."""
    node_token: Secret = None
    """ACL token of the agent itself, in a Consul that others secured (docs/joining.md)."""
    gossip_key: GossipKey = None
    """Gossip key of a Consul that others secured (docs/joining.md)."""
    cluster_ca_file: CertificateFile = None
    """PEM file of the authority of the servers' TLS, in a Consul that others secured (docs/joining.md)."""
    agent_certificate_file: CertificateFile = None
    """PEM file of the certificate that others made for the agent (docs/joining.md). Empty: the servers make one."""
    agent_certificate_key: Secret = None
    """Private key of `agentCertificateFile`."""
    server_address: Url
    """The server's API and UI as seen from where Pulumi runs, such as `http://127.0.0.1:8500`."""
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,63}$")] = "staging"
    """A tag and a meta value of every service."""
    service_host: Annotated[Host | None, Unset] = None
    """One address that stands for the names of all containers. Empty: each service is at its container's name."""
    locations: Annotated[Mapping[Identifier, ServiceLocation], Structured] = {}
    """By service id, where this stack has a service instead: `HOST:PORT`, `HOST` or `:PORT`."""
    leave_out: Annotated[frozenset[Identifier], Structured] = frozenset()
    """Ids of the services that this stack does not have."""
    adopt: bool = False
    """Take over service ids and keys of the KV store that another party wrote, instead of stopping. From then on they
    are the stack's: `destroy` removes them."""
    docker: bool = True
    """Deploy the agent, and what else is to be created, as containers. `false`: Consul runs outside of Docker."""
    sandbox: bool = False
    """Without `docker`: `make up` starts Consul and a stand-in of each service as processes of this machine."""
    network: Provided = "existing"
    """The Docker network: `existing`, expected and never changed, or `created`."""
    server: Provided = "existing"
    """The Consul server: `existing`, expected on the network and never changed, or `created`."""
    stand_ins: bool = False
    """Deploy a small container that stands in for each service, under the service's container name."""
    consul_image: Image = "hashicorp/consul:1.17.2"
    """Consul's image, by exact tag, with a digest if you like (`NAME:TAG@sha256:...`)."""
    esm_image: Image = "hashicorp/consul-esm:0.9.0"
    """consul-esm's image, for `registration: catalog`."""
    external_node: Identifier = "staging-external"
    """The node that `registration: catalog` registers on; never an agent's own."""
    templates: TemplateFolder = None
    """Folder with templates `NAME.ctmpl`, of which consul-template writes the files `NAME` (docs/templates.md). Empty:
    there is no consul-template."""
    consul_template_image: Image = "hashicorp/consul-template:0.41.1"
    """consul-template's image, for `templates`."""
    security: SecurityStage = None
    """Gossip encryption, TLS and ACLs: `off`, `on`, and between them `accepted` and `sent` (docs/security.md). Empty:
    `on` where the stack creates the server, else `off`."""
    token_generations: Generations = ("1",)
    """With `security`: names of the services' own tokens that are valid, the newest last (docs/security.md)."""
    authorities: Generations = ("1",)
    """With `security`: names of the certificate authorities that every node trusts; the first one signs
    (docs/security.md)."""
    management_tokens: Generations = ("1",)
    """With `security`: names of the management tokens that are valid; the first one is the servers' own
    (docs/security.md)."""
    publish_on: Interface = "127.0.0.1"
    """IP address of the Docker host on which the APIs are published, on the ports of their addresses. One that is not a
    loopback address opens them to whoever reaches it: without tokens, to changes too."""
    kv_configuration: bool = False
    """Write the services' values into Consul's KV store (docs/kv-configuration.md)."""
    hosts: Annotated[Hosts, Structured] = {}
    """Several Docker hosts, by name (docs/hosts.md)."""
    monitoring: bool = False
    """Deploy Prometheus with alerts, and consul_exporter, as containers (docs/monitoring.md)."""
    prometheus_address: Annotated[Url | None, Unset] = "http://127.0.0.1:9090"
    """With `monitoring`: Prometheus' UI, on an IP address of the Docker host. One that is not a loopback address opens
    it to whoever reaches it. Empty: it is not published."""
    prometheus_image: Image = "prom/prometheus:v3.5.0"
    """Prometheus' image, by exact tag."""
    consul_exporter_image: Image = "prom/consul-exporter:v0.13.0"
    """consul_exporter's image, by exact tag."""

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
            or self._unfit_for_hosts()
            or self._unfit_for_registration()
            or self._unfit_for_docker()
            or self._unfit_for_sandbox()
            or self._unfit_for_security()
            or self._unfit_for_joining()
            or self._unfit_for_monitoring()
            or self._unfit_for_templates()
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
        if kind != "agent" and self.adopt and not self.kv_configuration:
            return f"adopt: must be false with registration {kind}: it is for agent, and for kvConfiguration"
        agents = (self.agent_node.lower(), self.server_node.lower())  # one name to the catalog, in whatever case
        if kind == "catalog" and self.external_node.lower() in agents:
            return (
                f"externalNode: {self.external_node!r} is an agent's own node, which would remove all of them again: "
                "it must be a node of its own, such as staging-external"
            )
        return None

    def _unfit_for_docker(self) -> str | None:
        if not self.docker or not self.agent_address:
            return None
        same_port = urlsplit(self.agent_address).port == urlsplit(self.server_address).port
        if self.server == "created" and same_port:
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
            if address and stage == "off" and _is_https(address) and not self.agent_certificate_file:
                return f"{key}: {address!r} must be http with security off: what this stack deploys has no TLS then"
        return None

    def _unfit_for_joining(self) -> str | None:
        of_joining = ("node_token", "gossip_key", "cluster_ca_file", "agent_certificate_file", "agent_certificate_key")
        stated = [to_camel(name) for name in of_joining if getattr(self, name)]
        if stated and not (self.docker and self.server == "existing"):
            return f"{stated[0]}: must not be set without docker and server: existing: others secured that Consul"
        if self.agent_certificate_file and not self.cluster_ca_file:
            return "clusterCaFile: is missing: the authority that signed agentCertificateFile"
        return None

    def _unfit_for_templates(self) -> str | None:
        if not self.templates:
            return None
        if not self.docker:
            return "templates: must not be set without docker: consul-template runs in a container"
        if self.hosts:
            return "templates: must not be set with hosts: consul-template runs on the one Docker engine of a stack"
        return None

    def _unfit_for_hosts(self) -> str | None:
        if not self.hosts:
            return None
        servers = [host.address for host in self.hosts.values() if host.server]
        addresses = [host.address for host in self.hosts.values()]
        wrong = {
            "server: must be created with hosts, and docker true": not self.docker or self.server == "existing",
            "registration: must be agent or files with hosts: each agent runs the checks of its own host's services": (
                self.registration == "catalog"
            ),
            "security: must not be off with hosts: their APIs and their gossip leave the machine": self.stage == "off",
            f"hosts: {len(servers)} of them have server: true: it must be 1, 3 or 5, so that a majority can be left": (
                len(servers) not in _SERVER_COUNTS
            ),
            "hosts: each must have an address of its own": len(set(addresses)) < len(addresses),
            "publishOn: must be left out with hosts: each publishes at its own address": (
                self.publish_on != Settings.model_fields["publish_on"].default
            ),
        }
        return next((message for message, found in wrong.items() if found), None) or (
            _elsewhere("serverAddress", self.server_address, servers)
            or _elsewhere("agentAddress", self.agent_address, addresses)
            or self._unfit_names_on_hosts()
        )

    def _unfit_names_on_hosts(self) -> str | None:
        """Return which names get alike on the hosts: an agent's loses its -shared there, and each gets its host's."""
        hosts = self.docker_hosts
        for key, agents, servers in (
            ("agentNode", [host.names.agent_node for host in hosts], [host.names.server_node for host in hosts]),
            (
                "agentContainer",
                [host.names.agent_container for host in hosts],
                [self.names.server_container, *(host.names.server_container for host in hosts)],
            ),
        ):
            taken = {name.lower() for name in servers}
            if same := [name for name in agents if name.lower() in taken]:
                return f"{key}: would be {same[0]!r} on a host, and must be another name than a server's"
            if long := [name for name in (*agents, *servers) if len(name) > _LONGEST_NAME]:
                return f"hosts: {long[0]!r} must have at most {_LONGEST_NAME} characters: the name of a node on a host"
        return None

    def _unfit_for_monitoring(self) -> str | None:
        if not self.monitoring:
            return None
        if not self.docker:
            return "monitoring: must be false without docker: Prometheus and consul_exporter are containers"
        if self.hosts:
            return "monitoring: must be false with hosts: one Prometheus on one host is all that it deploys"
        return self._unfit_prometheus_address(self.prometheus_address) if self.prometheus_address else None

    def _unfit_prometheus_address(self, prometheus: str) -> str | None:
        parts = urlsplit(prometheus)
        if parts.scheme != "http" or not _is_ip_address(parts.hostname or ""):
            right = "must be http://IP:PORT, with an IP address of the Docker host: Prometheus' UI has no TLS"
            return f"prometheusAddress: {prometheus!r} {right}"
        for key, address in (("agentAddress", self.agent_address), ("serverAddress", self.server_address)):
            if address and urlsplit(address).port == parts.port:
                return f"prometheusAddress: must have another port than {key}"
        return None

    @property
    def prometheus_publish(self) -> Publish | None:
        """Where Docker publishes Prometheus' UI, if it does."""
        parts = urlsplit(self.prometheus_address or "")
        return Publish(parts.hostname, parts.port) if self.monitoring and parts.hostname and parts.port else None

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
    def docker_hosts(self) -> tuple[DockerHost, ...]:
        """The hosts with an agent of the stack each; one without a name, where the stack names none."""
        if self.hosts:
            return docker_hosts(self.hosts, self.names, self.agent_address, self.server_address)
        created = self.docker and self.server == "created"
        single = single_host(
            self.names, self.publish_on, self.agent_address, self.server_address, creates_server=created
        )
        return (single,)

    @property
    def ca(self) -> str | None:
        """The authority behind the APIs' certificates, as PEM text, where it is given: the cluster's, or another."""
        return _pem(self.agent_ca_file or self.cluster_ca_file)

    @property
    def cluster_ca(self) -> str | None:
        """The authority of an existing server's RPC, as PEM text."""
        return _pem(self.cluster_ca_file)

    @property
    def agent_certificate(self) -> str | None:
        """The certificate that others gave the agent, as PEM text."""
        return _pem(self.agent_certificate_file)

    @property
    def node(self) -> str:
        """The node that the services are registered on."""
        return self.external_node if self.registration == "catalog" else self.agent_node


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
    config = _own(CONFIG.get(), project, source)
    for key in (str(field.alias) for field in Settings.model_fields.values() if not field.repr):
        if config.get(key) and not is_config_secret(f"{project}:{key}"):
            right = f"pulumi config set --stack {pulumi.get_stack()} --secret {key}"
            raise SettingsError(f"{source}: {key}: is in plain text: {right}")
    loaded = load(config, source)
    if wrong := _unfit_certificate(loaded.agent_certificate_file, loaded.agent_certificate_key):
        raise SettingsError(f"{source}: {wrong}")
    return loaded


def _unfit_certificate(certificate: str | None, key: str | None) -> str | None:
    if bool(certificate) != bool(key):
        return "agentCertificateKey: must be set where agentCertificateFile is, and only there"
    if certificate and key and not is_key_of(Path(certificate), key):
        return f"agentCertificateKey: must be the private key of {certificate}, as PEM text without a passphrase"
    return None


def of_file(path: Path, project: str) -> Settings:
    """Check the config in a stack's file before any engine runs; a secret in it, which engines alone read, is not."""
    content = path.read_bytes()
    try:
        document = yaml.load(content, _Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # besides its own, PyYAML lets out what int, float and date say of a value
        raise SettingsError(f"{path.name}: is not YAML: {_place(error)}") from None
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise SettingsError(f"{path.name}: config: must map keys to values, such as {project}:environment: staging")
    return load(
        {key: value for key, value in _own(config, project, path.name).items() if not _secret(value)}, path.name
    )


class _Loader(yaml.SafeLoader):
    """Takes no key twice in one map, of which PyYAML itself keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        known = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in known:
                    raise _TwiceError(problem=key.value, problem_mark=key.start_mark)
                known.add(key.value)
        return super().construct_mapping(node, deep)


class _TwiceError(yaml.MarkedYAMLError):
    """A key stands twice in one map."""


def _printable(key: str) -> str:
    return key.encode("unicode_escape").decode() or "''"


def _place(error: Exception) -> str:
    """Return where a file is not YAML. What stands there may be the token, and is not shown."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark):
        twice = f"{error.problem!r} stands twice: " if isinstance(error, _TwiceError) else ""
        return f"{twice}see line {mark.line + 1}, column {mark.column + 1}"
    return "a character, a number or a date in it is none, or it is nested too deep"


def _secret(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _own(config: Mapping[str, Any], project: str, source: str) -> dict[str, Any]:
    """Return the project's own keys, which may go without its name in a file: the others are its providers'."""
    own = f"{project}:"
    for key in config:
        namespace = key.partition(":")[0]
        if ":" in key and namespace != project and get_close_matches(namespace.lower(), [project], 1, _ALIKE):
            raise SettingsError(f"{source}: {_printable(key)}: must begin with {own}, as each setting of this project")
    return {key.removeprefix(own): value for key, value in config.items() if key.startswith(own) or ":" not in key}


_ALIKE = 0.8  # `consul`, a provider's name, is 0.6 like `consul-staging`

_TYPES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a map",
    "model_type": "must be a map",
}


def _line(error: Any) -> str:  # noqa: ANN401 - pydantic's error details
    loc = error["loc"]
    key = loc[0] if loc else None  # of keys that do not fit together, the message itself names one
    if key != "hosts":
        return _said(key, error)
    key = ": ".join(str(each) for each in loc if each != "[key]")
    match error["type"]:
        case "missing":
            return f"{key}: is missing"
        case "extra_forbidden":
            return f"{key}: is no key of a host: the keys are {', '.join(HostSettings.model_fields)}"
    return _said(key, error)


def _said(key: str | None, error: Any) -> str:  # noqa: ANN401 - the same
    match error["type"]:
        case "missing":
            return f"{key}: is missing: add `{key}: VALUE` to its config"
        case "extra_forbidden":
            known = [str(field.alias) for field in Settings.model_fields.values()]
            meant = get_close_matches(str(key), known, 1)
            return f"{key}: is no key of this project: " + (
                f"{meant[0]} is" if meant else f"the keys are {', '.join(known)}"
            )
        case "string_pattern_mismatch":
            return f"{key}: {error['input']!r} must be 1 to 63 letters, digits and dashes"
        case "value_error":
            return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
        case "string_type" | "string_unicode":  # the value is not shown: it may be the token, or too long a number
            return f"{key}: must be text: put it in quotes"
    shown = f"{error['input']!r}: " if isinstance(error["input"], str) else ""
    message = _TYPES.get(error["type"], error["msg"])
    return f"{key}: {shown}{message[0].lower()}{message[1:]}"
