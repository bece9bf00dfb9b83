import json
from functools import cache
from pathlib import Path

import pulumi
import pytest

from components.consul_template import ConsulTemplate, ConsulTemplateArgs
from consul_cluster.template_files import Template
from tests.unit.pulumi_mocks import (
    CONTAINER,
    NETWORK,
    OTHER_ID,
    REMOTE_IMAGE,
    ROOT,
    VOLUME,
    Deployed,
    Docker,
    on_docker,
    program_with,
    secret,
    stack_config,
)
from tests.unit.test_docker_components import HARDENED

IMAGE = "hashicorp/consul-template:0.41.1"
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TYPE = "consul-staging:docker:ConsulTemplate"
COMPONENT = f"urn:pulumi:test::consul-staging::pulumi:pulumi:Stack${TYPE}::consul-template"
TEMPLATES = (Template("templates/a.conf.ctmpl", "of a"), Template("templates/b.json.ctmpl", "of b"))


def consul_template(token: str | None = None, ca: str | None = None) -> Deployed:
    args = ConsulTemplateArgs(IMAGE, pulumi.Output.from_input(NETWORK), TEMPLATES, token, ca)
    return on_docker(lambda: ConsulTemplate("consul-template", args))[0]


@cache
def plain() -> Deployed:
    return consul_template()


@cache
def secured() -> Deployed:
    return consul_template(TOKEN, AUTHORITY)


CHILDREN = ["consul-template-image", "consul-template-files", "consul-template-container"]


def test_it_is_a_component_an_image_a_volume_and_a_container() -> None:
    types = {name: request.type for name, request in plain().requests.items()}
    expected = dict(zip(CHILDREN, (REMOTE_IMAGE, VOLUME, CONTAINER), strict=True))
    assert types == {"consul-template": TYPE, **expected}
    assert plain().requests["consul-template"].parent == ROOT


@pytest.mark.parametrize("name", CHILDREN)
def test_what_it_consists_of_are_the_components_children(name: str) -> None:
    assert plain().requests[name].parent == COMPONENT


def test_the_image_has_its_tag_and_is_kept_when_the_stack_is_destroyed() -> None:
    assert plain().inputs("consul-template-image") == {"name": IMAGE, "keepLocally": True}


def test_other_containers_find_the_volume_by_its_name() -> None:
    assert plain().inputs("consul-template-files") == {"name": "consul-template-files"}


def test_the_container_is_exactly_this() -> None:
    inputs = plain().inputs("consul-template-container")
    inputs.pop("uploads")  # have tests of their own
    assert inputs == {
        "name": "consul-template",
        "image": OTHER_ID,
        "hostname": "consul-template",
        "command": ["consul-template", "-config=/etc/consul-template/config.json"],
        "networksAdvanced": [{"name": "staging_staging-network"}],
        "volumes": [{"containerPath": "/home/consul-template", "volumeName": "consul-template-files"}],
        "healthcheck": {
            "tests": ["CMD", "ls", "/home/consul-template/a.conf", "/home/consul-template/b.json"],
            "interval": "5s",
            "timeout": "5s",
            "startPeriod": "10s",
            "retries": 6,
        },
        "wait": True,
        "waitTimeout": 60,
        "restart": "unless-stopped",
        "destroyGraceSeconds": 10,
        **HARDENED,
    }


CONFIG = {
    "consul": {
        "address": "consul-agent-shared:8500",
        "retry": {"enabled": True, "attempts": 0, "backoff": "250ms", "max_backoff": "5s"},
    },
    "wait": {"min": "1s", "max": "3s"},
    "template_error_fatal": False,
    "log_level": "INFO",
    "kill_signal": "SIGTERM",
    "template": [
        {
            "source": f"/etc/consul-template/{name}.ctmpl",
            "destination": f"/home/consul-template/{name}",
            "perms": "0644",
        }
        for name in ("a.conf", "b.json")
    ],
}
SOURCES = [
    {"file": "/etc/consul-template/a.conf.ctmpl", "content": "of a"},
    {"file": "/etc/consul-template/b.json.ctmpl", "content": "of b"},
]


def test_it_is_given_its_config_and_the_templates() -> None:
    config, *sources = plain().inputs("consul-template-container")["uploads"]
    assert (config["file"], json.loads(config["content"])) == ("/etc/consul-template/config.json", CONFIG)
    assert sources == SOURCES


def test_in_a_secured_cluster_its_config_has_the_token_and_is_a_secret_and_it_is_given_the_authority() -> None:
    config, *others = secured().sent("consul-template-container")["uploads"]
    assert config["content"] == secret(config["content"]["value"])
    consul = {
        **CONFIG["consul"],  # type: ignore[dict-item]
        "address": "consul-agent-shared:8501",
        "token": TOKEN,
        "ssl": {"enabled": True, "verify": True, "ca_cert": "/etc/consul-template/ca.pem"},
    }
    assert json.loads(config["content"]["value"]) == {**CONFIG, "consul": consul}
    assert others == [*SOURCES, {"file": "/etc/consul-template/ca.pem", "content": AUTHORITY}]


def test_the_token_stands_nowhere_else() -> None:
    inputs = {name: secured().sent(name) for name in secured().requests}
    del inputs["consul-template-container"]["uploads"][0]["content"]
    assert TOKEN not in repr((inputs, secured().outputs))
    assert TOKEN not in repr(ConsulTemplateArgs(IMAGE, NETWORK, TEMPLATES, TOKEN))


def test_the_container_is_deleted_before_it_is_replaced_and_what_a_killed_run_left_before_it_is_created() -> None:
    assert plain().requests["consul-template-container"].deleteBeforeReplace
    assert plain().functions_before_creation("consul-template-container") == 1


# In a stack


def stack(**config: str) -> tuple[Deployed, Docker]:
    on = {**stack_config("docker-local"), "templates": "templates", **config}
    return program_with(on, names=("billing_service", "minio_grpc_service"))


def test_a_stack_without_templates_has_no_consul_template() -> None:
    assert "consul-template" not in program_with(stack_config("docker-local"))[0].requests


def test_a_stack_with_templates_has_one_after_the_registrations() -> None:
    waits_for = stack()[0].waits_for("consul-template-container")
    assert {"agent-container", "server-container", "registration-billing_service"} <= waits_for


def test_a_template_that_names_a_service_which_the_roster_lacks_stops_the_program(tmp_path: Path) -> None:
    (tmp_path / "a.ctmpl").write_text('{{ range service "biling_service" }}{{ end }}')
    with pytest.raises(pulumi.RunError, match=r"a\.ctmpl: 'biling_service' is no name of a service of this stack"):
        stack(templates=str(tmp_path))


def test_its_templates_are_those_of_the_folder() -> None:
    uploads = stack()[0].inputs("consul-template-container")["uploads"]
    assert [each["file"] for each in uploads] == [
        "/etc/consul-template/config.json",
        "/etc/consul-template/nginx-upstreams.conf.ctmpl",
        "/etc/consul-template/prometheus-targets.json.ctmpl",
    ]


def test_its_image_and_templates_are_looked_at_before_anything_is_created() -> None:
    [expected] = stack(consulTemplateImage="registry.example/consul-template:0.42.1")[1].expected
    assert list(expected.images) == ["registry.example/consul-template:0.42.1"]
    assert expected.templates
    assert expected.templates.image == "registry.example/consul-template:0.42.1"
    assert [each.path for each in expected.templates.files] == [
        "templates/nginx-upstreams.conf.ctmpl",
        "templates/prometheus-targets.json.ctmpl",
    ]


SECURED = {"security": "on", "agentAddress": "https://127.0.0.1:8501", "serverAddress": "https://127.0.0.1:8500"}


def test_in_a_secured_stack_it_has_a_token_of_its_own() -> None:
    found = stack(**SECURED)[0]
    config = found.sent("consul-template-container")["uploads"][0]["content"]
    assert json.loads(config["value"])["consul"]["token"] == "secret-of-acl-templates-token-id"  # noqa: S105


def test_a_secured_stack_without_templates_makes_no_token_for_it() -> None:
    found = program_with({**stack_config("docker-local"), **SECURED}, names=("billing_service",))[0]
    assert [name for name in found.requests if name.startswith("acl-templates")] == []


def test_where_others_secured_the_server_the_token_that_is_given_has_to_read_the_catalog() -> None:
    on = {**stack_config("staging"), "templates": "templates"}
    [expected] = program_with(on, names=("billing_service",))[1].expected
    assert expected.server
    [*_, token] = expected.server.rights
    assert [(each.resource, each.name, each.access) for each in token.rights][-2:] == [
        ("service", "", "read"),
        ("node", "", "read"),
    ]
