from typing import Any, get_args

import pytest

from components.certificates import certified_nodes
from consul_cluster.acl_rules import agent_tokens, server_tokens, token_rules
from consul_cluster.agent_configuration import agent_config, reloadable_config, server_config
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from consul_cluster.security_stages import Stage, stage_config, why_change_is_refused
from docker_hosts import single_host
from services.roster import Roster
from tests.forty_services import FORTY, forty_roster
from tests.unit.stacks import two_services

READ, WRITE = {"policy": "read"}, {"policy": "write"}
ALL_READ = {"": READ}

AGENT, SERVER = "https://127.0.0.1:8501", "https://127.0.0.1:8500"

every_esm = pytest.mark.parametrize("esm", [True, False])
every_stage = pytest.mark.parametrize("stage", get_args(Stage))


# What a stage puts into an agent's configuration


def config(
    encrypted: tuple[bool, bool], tls: tuple[bool, bool, bool], policy: str, **more: dict[str, str]
) -> dict[str, Any]:
    """The configuration of a stage, but for what is the same in all of them.

    Args:
        encrypted: whether gossip goes out encrypted alone, and comes in encrypted alone.
        tls: whether what goes out, what comes in and the servers' names are verified.
        policy: what may be done without a token.
        more: other keys.
    """
    return {
        "disable_keyring_file": True,
        "encrypt_verify_outgoing": encrypted[0],
        "encrypt_verify_incoming": encrypted[1],
        "ports": {"https": 8501},
        **more,
        "tls": {
            "defaults": {
                "ca_file": "/consul/config/tls/ca.pem",
                "cert_file": "/consul/config/tls/certificate.pem",
                "key_file": "/consul/config/tls/key.pem",
                "verify_outgoing": tls[0],
            },
            "internal_rpc": {"verify_incoming": tls[1], "verify_server_hostname": tls[2]},
        },
        "acl": {"enabled": True, "default_policy": policy, "token_ttl": "1s", "policy_ttl": "1s"},
    }


def test_the_stages_are_these_in_the_order_of_consuls_own_procedures() -> None:
    assert get_args(Stage) == ("off", "accepted", "sent", "on")


def test_without_security_an_agents_configuration_has_nothing_of_it() -> None:
    assert stage_config("off") == {}


def test_where_encryption_is_accepted_nothing_is_sent_and_nothing_is_asked_for() -> None:
    assert stage_config("accepted") == config((False, False), (False, False, False), "allow")


def test_where_encryption_is_sent_what_is_not_encrypted_is_still_taken() -> None:
    assert stage_config("sent") == config((True, False), (True, False, True), "allow")


def test_where_security_is_on_nothing_else_is_taken_and_plain_http_is_within_the_container_alone() -> None:
    plain = {"addresses": {"http": "127.0.0.1"}}
    assert stage_config("on") == config((True, True), (True, True, True), "deny", **plain)


@every_stage
@pytest.mark.parametrize(
    "others",
    [agent_config(STAGING_NAMES, "staging-consul"), server_config(STAGING_NAMES), reloadable_config()],
    ids=["agent", "server", "reloaded"],
)
def test_a_stage_overrides_nothing_of_an_agents_own_configuration(stage: Stage, others: dict[str, Any]) -> None:
    assert sorted(stage_config(stage).keys() & others.keys()) == []


# From one stage to another, of a cluster that runs


@pytest.mark.parametrize(
    ("before", "after"),
    [("off", "accepted"), ("accepted", "sent"), ("sent", "on"), ("on", "sent"), ("sent", "accepted")],
)
def test_a_step_in_either_direction_is_not_too_far(before: Stage, after: Stage) -> None:
    assert why_change_is_refused(before, after) is None


@pytest.mark.parametrize(
    ("before", "after", "step"),
    [
        ("off", "sent", "accepted"),
        ("off", "on", "accepted"),
        ("accepted", "on", "sent"),
        ("on", "accepted", "sent"),
    ],
)
def test_more_than_a_step_is_refused_with_the_next_one(before: Stage, after: Stage, step: str) -> None:
    assert why_change_is_refused(before, after) == (
        f"agent and server of a cluster would lose each other from {before} to {after}: set it to {step} first"
    )


@pytest.mark.parametrize("before", ["accepted", "sent", "on"])
def test_back_to_off_is_too_far_from_anywhere(before: Stage) -> None:
    assert why_change_is_refused(before, "off") == (
        "a cluster that was secured cannot go back to off: a Consul without ACLs removes no tokens. "
        "Set it to accepted, which asks for nothing"
    )


# The names of a certificate


def test_the_certificates_of_a_cluster_with_other_names_are_for_its_datacenter_its_containers_and_its_nodes() -> None:
    names = ClusterNames("east", "agent-node", "agent-1", "server-node", "server-1", "backend")
    server, agent = certified_nodes([single_host(names, "127.0.0.1", AGENT, SERVER, creates_server=True)])
    assert server.host_names == ["server.east.consul", "server-1", "server-node", "localhost"]
    assert agent.host_names == ["client.east.consul", "agent-1", "agent-node", "localhost"]


# What each token may do


WITHOUT_ESM = {
    "agent": {"node": {"consul-agent-shared": WRITE}, "service_prefix": ALL_READ},
    "registration": {
        "service": {"billing_service": WRITE, "minio_grpc_service": WRITE},
        "node": {"platform-external": WRITE},
        "node_prefix": ALL_READ,
        "agent_prefix": ALL_READ,
    },
    "verify": {"service_prefix": ALL_READ, "node_prefix": ALL_READ, "agent_prefix": ALL_READ},
    "removal": {"service_prefix": {"": WRITE}, "node_prefix": ALL_READ, "agent_prefix": ALL_READ},
    "reload": {"agent": {"consul-agent-shared": WRITE}},
}


def test_without_consul_esm_the_tokens_may_do_exactly_this() -> None:
    assert token_rules(two_services(), "platform-external", esm=False) == WITHOUT_ESM


def test_with_consul_esm_the_tokens_may_do_exactly_this() -> None:
    assert token_rules(two_services(), "platform-external", esm=True) == {
        **WITHOUT_ESM,
        "esm": {
            "service_prefix": ALL_READ,
            "node_prefix": ALL_READ,
            "agent_prefix": ALL_READ,
            "key_prefix": {"consul-esm/": WRITE},
            "node": {"platform-external": WRITE},
            "service": {"consul-esm": WRITE, "billing_service": WRITE, "minio_grpc_service": WRITE},
            "session": {"consul-agent-shared": WRITE},
        },
    }


def test_prometheus_token_reads_the_catalog_and_the_metrics_of_the_stacks_nodes() -> None:
    nodes = ("consul-agent-shared", "staging-consul")
    assert token_rules(two_services(), "platform-external", esm=False, monitored_nodes=nodes) == {
        **WITHOUT_ESM,
        "monitoring": {
            "service_prefix": ALL_READ,
            "node_prefix": ALL_READ,
            "agent": {"consul-agent-shared": READ, "staging-consul": READ},
        },
    }


def test_with_consul_template_there_is_a_token_more_which_reads_services_and_nodes() -> None:
    assert token_rules(two_services(), "platform-external", esm=False, templates=True) == {
        **WITHOUT_ESM,
        "templates": {"service_prefix": ALL_READ, "node_prefix": ALL_READ},
    }


@every_esm
def test_the_registrations_token_writes_the_40_services_names_and_no_other(esm: bool) -> None:
    names = {line.name for line in FORTY}
    assert token_rules(forty_roster(), "staging-external", esm)["registration"]["service"].keys() == names
    assert len(names) == 40


@every_esm
@pytest.mark.parametrize("services", [forty_roster(), two_services(), Roster(services=())], ids=["40", "2", "none"])
def test_no_token_writes_all_of_anything_but_the_services_for_removal_and_the_keys_of_consul_esm(
    services: Roster, esm: bool
) -> None:
    written = {
        (token, kind, name)
        for token, rules in token_rules(services, "staging-external", esm).items()
        for kind, names in rules.items()
        for name, rule in names.items()
        if kind.endswith("_prefix") and rule != READ
    }
    assert written == {("removal", "service_prefix", ""), *({("esm", "key_prefix", "consul-esm/")} if esm else set())}


@every_esm
def test_no_token_may_change_tokens_or_operate_the_cluster(esm: bool) -> None:
    kinds = {kind for rules in token_rules(forty_roster(), "staging-external", esm).values() for kind in rules}
    assert kinds & {"acl", "operator", "keyring", "mesh", "peering"} == set()


def test_the_server_makes_the_management_token_and_keeps_its_node_with_it() -> None:
    assert server_tokens("root") == {"initial_management": "root", "agent": "root"}


def test_the_agent_has_its_own_token_and_that_of_its_definition_files() -> None:
    tokens = {name: f"{name}-token" for name in ("agent", "registration", "verify", "reload", "esm")}
    assert agent_tokens(tokens) == {
        "agent": "agent-token",
        "config_file_service_registration": "registration-token",
    }
