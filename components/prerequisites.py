"""What a stack needs and does not create: the preflight looks for it (`components/preflight.py`)."""

from collections.abc import Sequence

from components.deployment_plan import Host
from components.preflight import ExistingServer, Prerequisites, TokenRights
from components.template_parsing import Templates
from consul_cluster.client import Consul
from consul_cluster.joining import (
    configuration_rights,
    monitoring_rights,
    node_rights,
    registration_rights,
    template_rights,
)
from consul_cluster.template_files import read_templates
from monitoring.monitored_cluster import PROMETHEUS_CONTAINER
from services.roster import Roster
from settings import Settings


def prerequisites(settings: Settings, roster: Roster, host: Host) -> Prerequisites:
    """Return what the preflight looks for on a host."""
    names = host.docker.names
    published = {
        names.agent_container: host.docker.agent_publish,
        names.server_container: host.docker.server_publish,
        PROMETHEUS_CONTAINER: settings.prometheus_publish,
    }
    containers = {service.container for service in roster.services} if not settings.stand_ins else set[str]()
    own = {service.container: None for service in host.roster.services if service.container in containers}
    return Prerequisites(
        host.docker.engine,
        host.docker.name,
        network=settings.names.network if settings.network == "existing" else None,
        server=_existing_server(settings, roster) if settings.server == "existing" else None,
        services=list(own),
        elsewhere=sorted(containers - own.keys()),
        consul_image=settings.consul_image,
        images=_other_images(settings),
        templates=_templates(settings),
        own_server=names.server_container if host.docker.server_address else None,
        ports={name: at for name, at in published.items() if at},
    )


def _other_images(settings: Settings) -> list[str]:
    """Return the images of what is deployed beside Consul."""
    used = [
        (settings.esm_image, settings.registration == "catalog"),
        (settings.consul_template_image, settings.templates is not None),
        (settings.prometheus_image, settings.monitoring),
        (settings.consul_exporter_image, settings.monitoring),
    ]
    return [image for image, is_used in used if is_used]


def _templates(settings: Settings) -> Templates | None:
    if not settings.templates:
        return None
    return Templates(settings.consul_template_image, read_templates(settings.templates))


def _existing_server(settings: Settings, roster: Roster) -> ExistingServer:
    names, api = settings.names, Consul(settings.server_address, ca=settings.ca)
    needed_here = settings.registration != "files" or settings.kv_configuration
    return ExistingServer(names.server_container, api, names.datacenter, _rights(settings, roster), needed_here)


def _rights(settings: Settings, roster: Roster) -> Sequence[TokenRights]:
    """Return the rights that the tokens which are given need with the existing server."""
    server = Consul(settings.server_address, settings.node_token, settings.ca)
    node = TokenRights("nodeToken", settings.node_token is not None, server, node_rights(settings.names))
    return [node, registration_token(settings, roster, settings.server_address)]


def registration_token(settings: Settings, roster: Roster, address: str) -> TokenRights:
    """Return the rights that `agentToken` needs.

    Args:
        settings: of the stack.
        roster: the services.
        address: of the API that is asked whether the token has them.
    """
    needed = registration_rights(settings.registration, roster, settings.names, settings.external_node)
    more = [
        *(configuration_rights(roster) if settings.kv_configuration else []),
        *(template_rights() if settings.templates else []),
        *(monitoring_rights(settings.names) if settings.monitoring else []),
    ]
    consul = Consul(address, settings.agent_token, settings.ca)
    return TokenRights("agentToken", settings.agent_token is not None, consul, list(dict.fromkeys([*needed, *more])))
