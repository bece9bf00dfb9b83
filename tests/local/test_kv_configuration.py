"""The services' values in a real KV store: as the platform's class reads them, and beside keys of other parties."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import consul
import pytest
import urllib3

import toolchain
from components.consul_connection import Connection
from components.kv_configuration import KvConfiguration, KvConfigurationArgs, KvEntryProvider
from consul_cluster.acl_rules import token_rules
from consul_cluster.agent_configuration import server_config
from consul_cluster.client import Consul, ConsulError, ForbiddenError
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.ownership import kv_flags
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import Sandbox, consul_process, write_config
from services.environment import Environment
from services.roster import Roster
from services.user_services import USER
from tests.local.clones import Clone, deployed_clone
from tests.local.loopback import new_addresses
from tests.local.stacks import EditableStack
from tests.platform_service import Registry
from tests.waiting import within

OWN = kv_flags("pulumi/consul-staging/local/")
KEY = "billing_service/max_retries"


@pytest.fixture(name="server")
def _server(shared_sandbox: Sandbox) -> Iterator[Consul]:
    yield shared_sandbox.server_api
    urllib3.request("DELETE", f"{shared_sandbox.server_api.address}/v1/kv/billing_service?recurse=true")


def props(server: Consul, value: str, **others: object) -> dict[str, Any]:
    """What the engine hands to the provider: without what is None."""
    stated = {"key": KEY, "value": value, "flags": str(OWN), "servers": server.address}
    return {**stated, "owned": False, "adopt": False, **others}


def write(server: Consul, value: str) -> None:
    """Write the key as a service does: without flags."""
    assert urllib3.request("PUT", f"{server.address}/v1/kv/{KEY}", body=value.encode()).status == 200


def stored(server: Consul) -> tuple[str, int] | None:
    entry = server.kv_entry(KEY)
    return (entry.text, entry.flags) if entry else None


def test_an_entry_is_created_changed_and_removed(server: Consul) -> None:
    provider = KvEntryProvider()
    three = provider.create(props(server, "3")).outs
    assert stored(server) == ("3", OWN)
    assert three
    five = provider.update(KEY, three, props(server, "5")).outs
    assert stored(server) == ("5", OWN)
    assert five
    provider.delete(KEY, five)
    assert stored(server) is None


@pytest.mark.parametrize("value", ['"info"', "0", "false", "1.5", '{"a":[1,"ö"]}', '""'])
def test_a_value_is_stored_as_it_is_stated(server: Consul, value: str) -> None:
    KvEntryProvider().create(props(server, value))
    assert stored(server) == (value, OWN)


def test_a_key_that_a_service_wrote_is_not_written_over(server: Consul) -> None:
    write(server, "7")
    with pytest.raises(ConsulError, match=rf"KV key '{KEY}' on \S+: another party wrote 7, and this stack states 3"):
        KvEntryProvider().create(props(server, "3"))
    assert stored(server) == ("7", 0)


def test_a_key_that_a_service_wrote_later_is_not_written_over(server: Consul) -> None:
    outs = KvEntryProvider().create(props(server, "3")).outs
    assert outs
    write(server, "7")
    assert KvEntryProvider().read(KEY, outs).outs == props(server, "7")
    with pytest.raises(ConsulError, match="another party wrote 7, and this stack states 3"):
        KvEntryProvider().update(KEY, props(server, "7"), props(server, "3"))
    assert stored(server) == ("7", 0)


def test_a_key_that_a_service_wrote_is_taken_over_where_the_stack_adopts_it(server: Consul) -> None:
    write(server, "7")
    KvEntryProvider().create(props(server, "3", adopt=True))
    assert stored(server) == ("3", OWN)


def test_a_key_that_a_service_wrote_as_it_is_stated_stays_its_own(server: Consul) -> None:
    write(server, '{"a": 1}')
    outs = KvEntryProvider().create(props(server, '{"a":1}')).outs
    assert outs
    KvEntryProvider().delete(KEY, outs)
    assert stored(server) == ('{"a": 1}', 0)


def test_a_key_that_a_service_wrote_later_is_not_removed(server: Consul) -> None:
    outs = KvEntryProvider().create(props(server, "3")).outs
    assert outs
    write(server, "7")
    KvEntryProvider().delete(KEY, outs)
    assert stored(server) == ("7", 0)


def test_a_stack_of_another_name_keeps_its_entries(server: Consul) -> None:
    old, new = str(kv_flags("pulumi/consul-staging/old/")), str(OWN)
    outs = KvEntryProvider().create(props(server, "3", flags=old)).outs
    assert outs
    KvEntryProvider().update(KEY, outs, props(server, "3", flags=new))
    assert stored(server) == ("3", OWN)


def test_consul_takes_a_value_of_the_size_that_is_allowed_and_none_that_is_larger(server: Consul) -> None:
    largest = f'"{"x" * (512 * 1024 - 2)}"'  # in JSON, with its quotes: tests/unit/test_kv_configuration.py
    KvEntryProvider().create(props(server, largest))
    assert stored(server) == (largest, OWN)
    with pytest.raises(ConsulError, match="max size: 524288 bytes"):
        KvEntryProvider().create(props(server, f'"x{largest[1:]}'))
    assert stored(server) == (largest, OWN)


def test_an_entry_that_somebody_removed_is_to_be_created_again(server: Consul) -> None:
    assert KvEntryProvider().read(KEY, props(server, "3")).id == ""


# A Consul that asks for tokens


MANAGEMENT = "5c1b2b5e-0000-0000-0000-000000000001"


@pytest.fixture(name="secured")
def _secured(tmp_path: Path) -> Iterator[Consul]:
    """A server that refuses whoever has no token; the client has one with all rights."""
    address = new_addresses().server
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"initial_management": MANAGEMENT}}
    write_config({**server_config(STAGING_NAMES, address, address), "acl": acl}, "secured", tmp_path)
    process = consul_process(toolchain.consul(), "secured", tmp_path)
    process.start()
    try:
        within(60, lambda: _acls_answer(address))  # as long as the sandbox waits for Consul
        yield Consul(f"http://{address}:8500", MANAGEMENT)
    finally:
        process.stop()


def _acls_answer(address: str) -> bool:
    try:
        return _put_acl(f"http://{address}:8500", "policy", {"Name": "ready"}).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _put_acl(server: str, what: str, body: Mapping[str, object]) -> urllib3.BaseHTTPResponse:
    headers = {"X-Consul-Token": MANAGEMENT}
    return urllib3.request("PUT", f"{server}/v1/acl/{what}", json=body, headers=headers, retries=False)


def test_the_token_configuration_writes_the_stated_keys_and_no_other(secured: Consul) -> None:
    service = USER.service(Environment("staging"), "billing", 8216, configuration={"max_retries": 3})
    rules = token_rules(Roster(services=(service,)), "staging-external", esm=False, kv_configuration=True)
    policy = {"Name": "configuration", "Rules": json.dumps(rules["configuration"])}
    assert _put_acl(secured.address, "policy", policy).status == 200
    made = _put_acl(secured.address, "token", {"Policies": [{"Name": "configuration"}]}).json()

    provider, stated = KvEntryProvider(), props(secured, "3", token=made["SecretID"], removal=MANAGEMENT)
    provider.create(stated)
    assert provider.read(KEY, stated).outs == stated
    provider.update(KEY, stated, {**stated, "value": "5"})
    assert stored(secured) == ("5", OWN)
    with pytest.raises(ForbiddenError):
        provider.create({**stated, "key": "billing_service/another"})
    provider.delete(KEY, stated)  # by the token for keys that the program no longer states
    assert stored(secured) is None


# A stack


def values(stack: EditableStack, stated: dict[str, str]) -> Engine:
    """Return the real engine with a program that states some values, on the stack's server; clears what was said."""
    stack.output.clear()
    args = KvConfigurationArgs(stated, Connection(stack.sandbox.server_api.address))
    return replace(stack.engine, program=lambda: _declare(args), print_line=stack.output.append)


def _declare(args: KvConfigurationArgs) -> None:
    KvConfiguration("kv", args)


def test_a_value_that_changes_is_one_line_of_the_preview(server: Consul, stack: EditableStack) -> None:
    del server
    stated = {KEY: "3", "billing_service/log_level": '"info"'}
    values(stack, stated).up()
    try:
        changed = values(stack, {**stated, KEY: "5"}).preview(diff=True).change_summary
        assert {str(what): count for what, count in (changed or {}).items()} == {"update": 1, "same": 3}
        signed = [line.strip() for line in stack.output if line.strip().startswith(("~ value", "+ ", "- "))]
        assert signed == ['~ value  : "3" => "5"']
    finally:
        values(stack, stated).destroy()


def test_a_value_that_another_party_wrote_is_in_the_preview_beside_the_stated_one(
    server: Consul, stack: EditableStack
) -> None:
    values(stack, {KEY: "3"}).up()
    write(server, "9")
    try:
        values(stack, {KEY: "3"}).preview(diff=True, refresh=True)
        signed = [line.strip() for line in stack.output if line.strip().startswith(("~ value", "+ ", "- "))]
        assert signed[-1] == '~ value  : "9" => "3"'
    finally:
        values(stack, {KEY: "3"}).destroy()


def test_destroy_removes_the_values_of_the_stack_and_none_that_a_service_wrote(
    server: Consul, stack: EditableStack
) -> None:
    stated = {KEY: "3", "billing_service/log_level": '"info"'}
    values(stack, stated).up()
    write(server, "7")
    values(stack, stated).destroy()
    assert stored(server) == ("7", 0)
    assert server.kv_entry("billing_service/log_level") is None


def _configured(folder: Path, billing: dict[str, object], for_all: dict[str, object]) -> None:
    """State values: the last definition of a name is the one that is used."""
    with (folder / "services" / "configuration_values.py").open("a") as file:
        file.write(f"\nFOR_ALL_SERVICES = {for_all!r}\n")
    with (folder / "services" / "user_services.py").open("a") as file:
        file.write(
            "\n_without_values = user_services\n\n\ndef user_services(environment):\n"
            f"    values = {{'billing_service': {billing!r}}}\n"
            "    return tuple(\n"
            "        each.model_copy(update={'configuration': {**each.configuration, **values.get(each.id, {})}})\n"
            "        for each in _without_values(environment)\n    )\n"
        )


def test_the_services_read_their_values_and_follow_a_change_at_once_and_a_service_keeps_what_it_wrote(
    tmp_path: Path,
) -> None:
    with deployed_clone(tmp_path / "clone") as clone:
        with (clone.folder / "Pulumi.local.yaml").open("a") as file:
            file.write('  consul-staging:kvConfiguration: "true"\n')
        _configured(clone.folder, {"max_retries": 3}, {"log_level": "info"})
        up = clone.make("up")
        assert up.returncode == 0, up.stdout
        services = [
            Registry(clone.sandbox.server, service.name, service.host, service.port or 0)
            for service in clone.sandbox.roster.services
        ]
        assert {each.name: each.configured("log_level") for each in services} == {
            each.name: "info" for each in services
        }
        billing = next(each for each in services if each.name == "billing_service")
        assert billing.configured("max_retries") == 3
        assert "13 of 13 values in the KV store are as stated" in clone.make("verify").stdout

        with ThreadPoolExecutor(2) as client:
            followed = client.submit(_follow, clone)
            written = client.submit(_written, clone, 5)
            users = clone.folder / "services" / "user_services.py"
            users.write_text(users.read_text().replace("'max_retries': 3", "'max_retries': 5"))
            changed = clone.make("up")
            assert changed.returncode == 0, changed.stdout
            value, seen = followed.result(60)
            assert value == 5
            assert seen - written.result(60) < 1

        write(clone.server, "7")
        assert "7, which another party wrote" in clone.make("verify").stdout
        refused = clone.make("up")
        assert refused.returncode != 0
        both = "another party wrote 7, and this stack states 5"
        assert f"KV key '{KEY}' on {clone.server.address}: {both}" in refused.stdout
        clone.make("down")


def _follow(clone: Clone) -> tuple[object, float]:
    """Read a key, as the platform's class does, and wait until it changes; returns its value, and when it is seen."""
    kv = consul.Consul(host=clone.sandbox.server, port=8500).kv
    index, _ = kv.get(KEY)
    _, entry = kv.get(KEY, index=index, wait="60s")
    return json.loads(entry["Value"]), time.monotonic()


def _written(clone: Clone, value: int) -> float:
    """Look every 20 ms until a key has a value; returns when that is seen."""
    deadline = time.monotonic() + 60
    while stored(clone.server) != (str(value), OWN):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return time.monotonic()
