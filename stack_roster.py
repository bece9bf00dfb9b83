"""The roster of a stack: services/, as its settings have them, and nothing that it cannot register or stand in for."""

from collections.abc import Iterator, Mapping, Sequence

from consul_cluster.template_files import read_templates, unknown_services
from docker_hosts import DockerHost
from errors import UserError
from services import roster
from services.checks import Check, HttpCheck, TcpCheck, TtlCheck
from services.model import Service
from services.roster import Roster
from settings import Settings


class UnfitServicesError(UserError):
    """The roster has what the stack cannot do: the message has a line for each check."""


def load(settings: Settings) -> Roster:
    """Return the services of a stack.

    Raises:
        services.roster.RosterError: a line in services/ is malformed, or two of them want the same thing.
        UnfitServicesError: the registration, or a stand-in, cannot do what a line says; or a template names a service
            that is none of the stack's.
        consul_cluster.template_files.TemplateError: a template cannot be read.
    """
    loaded = roster.load_roster(settings.services)
    unfit = [line for service in loaded.services for line in _unfit(service, settings)]
    if settings.stand_ins:
        unfit += _several_ports(loaded)
    unfit += _misplaced(loaded, settings.docker_hosts)
    names = [service.name for service in loaded.services]
    unfit += unknown_services(read_templates(settings.templates), names, settings.datacenter)
    if unfit:
        raise UnfitServicesError("\n".join(unfit))
    return loaded


def by_host(loaded: Roster, settings: Settings) -> Mapping[str, Roster]:
    """Return the services of each Docker host, by its name: those whose containers run there."""
    hosts = settings.docker_hosts
    if not settings.hosts:
        return {host.name: loaded for host in hosts}
    placed: dict[str, list[Service]] = {host.name: [] for host in hosts}
    for service in loaded.services:
        for host in _hosts_of(service, hosts):
            placed[host.name].append(service)
    return {name: Roster(services=tuple(services)) for name, services in placed.items()}


def _hosts_of(service: Service, hosts: Sequence[DockerHost]) -> list[DockerHost]:
    """Return the hosts that a service is stated on: by its id, or else by its group."""
    by_id = [host for host in hosts if host.placed is None or service.id in host.placed]
    return by_id or [host for host in hosts if host.placed is not None and service.kind in host.placed]


def _misplaced(loaded: Roster, hosts: Sequence[DockerHost]) -> Iterator[str]:
    """Yield a line for each name of a host that is none's, and for each service that is on no host or on several."""
    known = {name for service in loaded.services for name in (service.kind, service.id)}
    for host in hosts:
        for name in sorted((host.placed or frozenset()) - known):
            yield f"hosts: {host.name}: services: {name!r} is neither a group nor the id of a service of this stack"
    for service in loaded.services:
        on = [host.name for host in _hosts_of(service, hosts)]
        if len(on) != 1:
            where = " and on ".join(on) or "none"
            yield f"hosts: {service.id} is on {where}: one of them must have its id, or its group, in its services"


def _several_ports(loaded: Roster) -> Iterator[str]:
    ports = dict[str, int | None]()
    for service in loaded.services:
        if ports.setdefault(service.container, service.port) != service.port:
            only = f"the stand-in of {service.container} listens on port {ports[service.container]} alone"
            yield f"{_line(service)}: {only}: {_leave_out(service)}"


def _line(service: Service) -> str:
    return f"{service.place}: {service.id}"


def _leave_out(service: Service) -> str:
    return f"have this stack leave it out, with leaveOut: [{service.id}]"


def _unfit(service: Service, settings: Settings) -> Iterator[str]:
    line = _line(service)
    for check in service.checks:
        if settings.registration == "catalog" and (why := _not_for_esm(check)):
            yield f"{line}: {check.id}: {why}: register it with registration agent or files"
        if settings.trial and (why := _no_stand_in(check, container=settings.stand_ins)):
            yield f"{line}: {check.id}: {why}: {_leave_out(service)}"
    if settings.registration == "catalog" and (why := _not_for_provider(service)):
        yield f"{line}: {why}: register it with registration agent or files"


def _not_for_provider(service: Service) -> str | None:
    if service.tagged_addresses:
        return "the Consul provider registers no tagged_addresses"
    if service.enable_tag_override:
        return "enable_tag_override: the Consul provider takes the tags of other parties for drift"
    return None


def _not_for_esm(check: Check) -> str | None:
    """Return why consul-esm does not run a check, or why the Consul provider cannot register it.

    https://www.pulumi.com/registry/packages/consul/api-docs/service/#servicecheck
    """
    if not isinstance(check, HttpCheck | TcpCheck):
        return f"consul-esm runs HTTP and TCP checks, and no {check.kind.upper()} check"
    if isinstance(check, HttpCheck) and check.body:
        return "the Consul provider registers no body"
    if check.tls_server_name or (isinstance(check, TcpCheck) and check.use_tls):
        return "the Consul provider registers no tls_server_name and no TLS for TCP"
    if check.success_before_passing or check.failures_before_warning or check.failures_before_critical:
        return "the Consul provider registers no success_before_passing and no failures_before_..."
    return None


def _no_stand_in(check: Check, container: bool) -> str | None:
    if isinstance(check, HttpCheck | TcpCheck) and not check.use_tls and not check.port:
        answered = isinstance(check, TcpCheck) or check.path == "/health" or not container
        return None if answered else "a stand-in container answers /health and no other path"
    if container:
        return "a stand-in container answers GET /health and TCP on the service's port, and nothing else"
    return None if isinstance(check, TtlCheck) or not check.use_tls else "no stand-in has a certificate"
