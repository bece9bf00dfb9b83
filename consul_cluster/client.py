"""Consul's HTTP API, as far as it is used here. Nothing else speaks HTTP to Consul."""

import json
import re
import time
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as http_errors
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from consul_cluster.fingerprint import fingerprint
from errors import UserError

# Seconds before each further try of a request that met nobody or got a 5xx. A 4xx is the caller's mistake and stays.
# Every request here may be repeated: a PUT states what is to be true. urllib3's own retries would log each of them.
_RETRY_PAUSES = (0, 0.4, 0.8, 1.6)
_TIMEOUT = Timeout(connect=3, read=15)
# Seconds for which nobody is asked again who took a request and was silent. Else each of 40 services would wait anew.
_SILENCE = 15
_NO_ANSWER = (
    http_errors.NewConnectionError,
    http_errors.ProtocolError,
    http_errors.ProxyError,
    http_errors.TimeoutError,
)
# What Go's HTTPS servers answer to plain HTTP, and what OpenSSL says of plain HTTP where it expects TLS.
_PLAIN_HTTP_REFUSED = b"Client sent an HTTP request to an HTTPS server"
_CONNECTION = re.compile(r"^HTTPS?Connection(Pool)?\(.*?\): ")  # what urllib3's messages begin with
_NO_TLS = re.compile("wrong version number|record layer failure|packet length too long", re.IGNORECASE)

_TOKEN = re.compile(r"[!-~]+")

ALIVE = 1
"""The `Status` of a member of the cluster that gossip reaches."""

# What a transaction keeps. It ignores some of what the catalog shows beside that, and refuses the rest.
_SERVICE_IN_TRANSACTION = ("ID", "Service", "Address", "Port", "Tags", "Meta", "Weights", "EnableTagOverride")
_CHECK_IN_TRANSACTION = ("CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags")


class Right(NamedTuple):
    """One right of an ACL token. A blank name stands for every name.

    https://developer.hashicorp.com/consul/docs/security/acl/acl-rules
    """

    resource: str
    name: str
    access: str


@dataclass(frozen=True)
class KvEntry:
    """One entry of the KV store.

    Attributes:
        key: its key.
        text: its value.
        flags: a number that who wrote it gave it; 0 without one.
        index: that changes with each write.
    """

    key: str
    text: str
    flags: int
    index: int


NO_SERVERS = "No known Consul servers"
"""What an agent says that has lost the servers, or has not found them yet."""


class ConsulError(UserError):
    """Consul refused a request or did not answer: says what was asked of whom, and Consul's own words."""


class NoAnswerError(ConsulError):
    """Nobody answers at the agent's address, in the protocol that it names."""


class SilentError(NoAnswerError):
    """Somebody takes the request, and gives no answer in time: who is there may have what it is asked for."""


class ForbiddenError(ConsulError):
    """The token lacks a right."""


class UntrustedError(ConsulError):
    """Who answers has a certificate of another authority."""


class UnknownTokenError(ForbiddenError):
    """The cluster does not know the token: it was deleted, or the servers have lost their data."""


class NoAclsError(ConsulError):
    """The cluster has no ACLs: nobody needs a token."""


class HiddenError(ForbiddenError):
    """Consul answered with a part of what there is, since the token may not see the rest."""


_ERRORS: Mapping[int, type[ConsulError]] = {
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.UNAUTHORIZED: NoAclsError,
}


NODE_MAINTENANCE = "_node_maintenance"
"""The check by which Consul keeps the maintenance mode of a node; an agent that starts again still has it."""


def is_maintenance(check_id: str) -> bool:
    """Return whether a check is how Consul keeps the maintenance mode of a service."""
    return check_id.startswith("_service_maintenance:")


class Consul:
    """The API of one Consul agent."""

    def __init__(self, address: str, token: str | None = None, ca: str | None = None) -> None:
        """Prepare to talk; connects at the first request.

        Args:
            address: `http://host:port` or `https://host:port`.
            token: ACL token, sent as a header with every request.
            ca: PEM text of the authority behind the API's certificate; without it, the system's authorities.

        Raises:
            ConsulError: the token cannot be one.
        """
        if token and not _TOKEN.fullmatch(token):
            raise ConsulError("the ACL token has characters that no token has: a line break or a blank, perhaps")
        self.address = address
        headers = {"X-Consul-Token": token} if token else None
        self._http = urllib3.PoolManager(maxsize=8, retries=False, timeout=_TIMEOUT, headers=headers, ca_cert_data=ca)
        self._silent_until = 0.0

    def service(self, service_id: str) -> dict[str, Any] | None:
        """Return what the agent holds under an id, or None.

        https://developer.hashicorp.com/consul/api-docs/agent/service#get-service-configuration
        """
        found: dict[str, Any] | None = self._ask("GET", f"/v1/agent/service/{_path(service_id)}", missing_ok=True)
        return found

    def checks(self, service_id: str) -> dict[str, dict[str, Any]]:
        """Return the agent's checks of one service, by check id."""
        query = {"filter": f"ServiceID == {json.dumps(service_id)}"}
        return dict(self._ask("GET", "/v1/agent/checks", query))

    def all_services(self) -> dict[str, dict[str, Any]]:
        """Return every service that the agent holds, by id."""
        return dict(self._ask("GET", "/v1/agent/services"))

    def all_checks(self) -> dict[str, dict[str, Any]]:
        """Return every check that the agent runs, by check id."""
        return dict(self._ask("GET", "/v1/agent/checks"))

    def register(self, body: Mapping[str, Any]) -> None:
        """Register a service, or change it; its checks become exactly those of the body.

        Maintenance mode, which is a check, stays: `replace-existing-checks` would end it.
        https://developer.hashicorp.com/consul/api-docs/agent/service#register-service
        """
        self._ask("PUT", "/v1/agent/service/register", body=body)
        stated = {check["CheckID"] for check in body.get("Checks", ())}
        for check_id in self.checks(body["ID"]).keys() - stated:
            if not is_maintenance(check_id):
                self._ask("PUT", f"/v1/agent/check/deregister/{_path(check_id)}")

    def maintain_node(self, reason: str | None) -> None:
        """Have clients not find any service of the agent's node, until somebody ends that: with no reason.

        https://developer.hashicorp.com/consul/api-docs/agent#enable-maintenance-mode
        """
        query = {"enable": "true", "reason": reason} if reason else {"enable": "false"}
        self._ask("PUT", "/v1/agent/maintenance", query)

    def deregister(self, service_id: str) -> None:
        """Remove a service and its checks from the agent; one that is gone already is no error."""
        self._ask("PUT", f"/v1/agent/service/deregister/{_path(service_id)}", missing_ok=True)

    def answers(self) -> bool:
        """Return whether the API answers within seconds."""
        with suppress(ConsulError):
            self._send("GET", "/v1/status/leader", pauses=())
            return True
        return False

    def version(self) -> str:
        """Return the version of Consul that answers. This needs no token.

        https://developer.hashicorp.com/consul/api-docs/agent
        """
        return str(self._ask("GET", "/v1/agent/version")["HumanVersion"])

    def leader(self) -> str:
        """Return the address of the servers' leader; blank where they have none."""
        return str(self._ask("GET", "/v1/status/leader"))

    def has_lost_servers(self) -> bool:
        """Return whether an agent answers, and reaches no leader: what it has, clients then do not find."""
        try:
            return not self.leader()
        except NoAnswerError:
            return False
        except ConsulError:
            return True

    def autopilot_servers(self) -> list[dict[str, Any]]:
        """Return what the leader knows of each server, such as `Name`, `Healthy` and `Status`: leader, voter, or none.

        https://developer.hashicorp.com/consul/api-docs/operator/autopilot#read-the-autopilot-state
        """
        return list(self._ask("GET", "/v1/operator/autopilot/state")["Servers"].values())

    def transfer_leadership(self, server_id: str) -> None:
        """Have another server lead.

        https://developer.hashicorp.com/consul/api-docs/operator/raft#transfer-raft-leadership

        Args:
            server_id: its id, which is that of its node.
        """
        self._ask("POST", "/v1/operator/raft/transfer-leader", {"id": server_id})

    def datacenters(self) -> list[str]:
        """Return the known datacenters, the own one first. This needs no token.

        https://developer.hashicorp.com/consul/api-docs/catalog#list-datacenters
        """
        return list(self._ask("GET", "/v1/catalog/datacenters"))

    def catalog_nodes(self) -> dict[str, dict[str, Any]]:
        """Return the catalog's nodes, by name.

        https://developer.hashicorp.com/consul/api-docs/catalog#list-nodes
        """
        return {entry["Node"]: entry for entry in self._ask("GET", "/v1/catalog/nodes")}

    def catalog_checks(self) -> list[dict[str, Any]]:
        """Return every check that the catalog has, of services and of nodes, whatever its status.

        https://developer.hashicorp.com/consul/api-docs/health#list-checks-in-state
        """
        return list(self._ask("GET", "/v1/health/state/any"))

    def join(self, member: str) -> None:
        """Have another agent in the cluster, by its host name or address.

        https://developer.hashicorp.com/consul/api-docs/agent#join-agent
        """
        self._ask("PUT", f"/v1/agent/join/{_path(member)}")

    def members(self) -> list[dict[str, Any]]:
        """Return the members of the cluster as this agent's gossip knows them.

        https://developer.hashicorp.com/consul/api-docs/agent#list-members
        """
        return list(self._ask("GET", "/v1/agent/members"))

    def discover(self, name: str) -> list[dict[str, Any]]:
        """Return the passing instances of a service, `Node`, `Service` and `Checks`, as its clients find them.

        https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service
        """
        return _entries(self._ask("GET", f"/v1/health/service/{_path(name)}", {"passing": "true"}))

    def metrics(self) -> str:
        """Return the agent's metrics as Prometheus reads them.

        https://developer.hashicorp.com/consul/api-docs/agent#view-metrics
        """
        answer = self._send("GET", "/v1/agent/metrics", {"format": "prometheus"})
        return answer.data.decode(errors="replace")

    def node_checks_after(self, node: str, index: int, wait: str) -> tuple[list[dict[str, Any]], int]:
        """Return the checks that the catalog has on a node, and their index, once it is another than a given one.

        Who asks in a loop tries again by that: here it is tried once, so that a failure is told at once.
        https://developer.hashicorp.com/consul/api-docs/features/blocking

        Args:
            node: the node's name.
            index: as the last call returned it; 0 answers at once.
            wait: how long to wait for a change at the most, such as `10s`: less than a read's timeout.
        """
        path = f"/v1/health/node/{_path(node)}"
        answer = self._send("GET", path, {"index": str(index), "wait": wait}, pauses=())
        checks, seen = _json(answer, f"GET {self.address}{path}"), int(answer.headers.get("X-Consul-Index", 0))
        return list(checks), seen if seen >= index else 0  # one that went back is of a restored catalog: ask anew

    def catalog_node(self, node: str) -> dict[str, Any] | None:
        """Return a node of the catalog and its services by id, `Node` and `Services`, or None.

        https://developer.hashicorp.com/consul/api-docs/catalog#retrieve-map-of-services-for-a-node
        """
        found = self._ask("GET", f"/v1/catalog/node/{_path(node)}")
        return found and {**found, "Services": {key: _whole(service) for key, service in found["Services"].items()}}

    def has_synchronized(self, node: str) -> bool:
        """Return whether the agent of a node has told the servers all that it holds.

        An agent that the servers did not answer tries again after 15 to 30 s: until then they learn nothing of what is
        registered on it. https://developer.hashicorp.com/consul/docs/architecture/anti-entropy
        """
        # The servers themselves create the node of a new member, but the agent alone sends its tagged addresses.
        found = self.catalog_node(node)
        return bool(found and found["Node"]["TaggedAddresses"])

    def node_services(self, node: str) -> dict[str, dict[str, Any]]:
        """Return the services that the catalog has on a node, by id; none where it has no such node."""
        found = self.catalog_node(node)
        return dict(found["Services"]) if found else {}

    def node_checks(self, node: str) -> list[dict[str, Any]]:
        """Return the checks that the catalog has on a node.

        https://developer.hashicorp.com/consul/api-docs/health#list-checks-for-node
        """
        return list(self._ask("GET", f"/v1/health/node/{_path(node)}"))

    def deregister_from_catalog(self, node: str, service_id: str) -> None:
        """Remove a service and its checks from a node that has no agent; one that is gone already is no error.

        https://developer.hashicorp.com/consul/api-docs/catalog#deregister-entity
        """
        self._ask("PUT", "/v1/catalog/deregister", body={"Node": node, "ServiceID": service_id}, missing_ok=True)

    def register_in_catalog(self, body: Mapping[str, Any]) -> None:
        """Register on a node that has no agent.

        https://developer.hashicorp.com/consul/api-docs/catalog#register-entity
        """
        self._ask("PUT", "/v1/catalog/register", body=body)

    def move_in_catalog(
        self, service: Mapping[str, Any], checks: Iterable[Mapping[str, Any]], old: str, new: str
    ) -> None:
        """Move a service and its checks to another node in one transaction: nobody finds it on both, or on none.

        This needs service:write on the service alone. What a transaction does not take, such as tagged addresses and
        the intervals of checks, the agent of the new node adds once the service is registered with it.
        https://developer.hashicorp.com/consul/api-docs/txn

        Args:
            service: as `instances` returns it.
            checks: of the service, as `instances` returns them.
            old: the node that has it; its checks leave with it.
            new: the node that gets it, which has to be in the catalog.
        """
        moved = _only(_SERVICE_IN_TRANSACTION, service)
        operations = [
            {"Service": {"Verb": "delete", "Node": old, "Service": moved}},
            {"Service": {"Verb": "set", "Node": new, "Service": moved}},
            *(
                {"Check": {"Verb": "set", "Check": {**_only(_CHECK_IN_TRANSACTION, check), "Node": new}}}
                for check in checks
            ),
        ]
        self._ask("PUT", "/v1/txn", body=operations)

    def deregister_node(self, node: str) -> None:
        """Remove a node that has no agent, with all that is on it."""
        self._ask("PUT", "/v1/catalog/deregister", body={"Node": node})

    def token_secret(self, accessor: str) -> str:
        """Return the secret of an ACL token.

        https://developer.hashicorp.com/consul/api-docs/acl/tokens#read-a-token
        """
        return str(self._ask("GET", f"/v1/acl/token/{_path(accessor)}")["SecretID"])

    def token_with(self, secret_fingerprint: str) -> dict[str, Any] | None:
        """Return the ACL token whose secret has a fingerprint, or None. This needs acl:write.

        https://developer.hashicorp.com/consul/api-docs/acl/tokens#list-tokens
        """
        tokens = self._ask("GET", "/v1/acl/tokens")
        return next((each for each in tokens if fingerprint(each["SecretID"]) == secret_fingerprint), None)

    def own_accessor(self) -> str:
        """Return the accessor of the token that this client sends."""
        return str(self._ask("GET", "/v1/acl/token/self")["AccessorID"])

    def kv_entry(self, key: str) -> KvEntry | None:
        """Return an entry of the KV store, or None.

        https://developer.hashicorp.com/consul/api-docs/kv#read-key
        """
        found = self._ask("GET", f"/v1/kv/{quote(key)}", missing_ok=True)
        if not found:
            return None
        text = b64decode(found[0]["Value"] or "").decode(errors="replace")
        return KvEntry(key, text, found[0]["Flags"], found[0]["ModifyIndex"])

    def write_kv_entry(self, entry: KvEntry) -> bool:
        """Write an entry of the KV store, unless another party has written it since; return whether it is written.

        https://developer.hashicorp.com/consul/api-docs/kv#create-update-key

        Args:
            entry: its index is that of the entry which it replaces; 0: there is none.
        """
        query = {"cas": str(entry.index), "flags": str(entry.flags)}
        return bool(self._ask("PUT", f"/v1/kv/{quote(entry.key)}", query, json.loads(entry.text)))

    def delete_kv_entry(self, entry: KvEntry) -> bool:
        """Remove an entry of the KV store, unless another party has written it since; return whether it is removed."""
        return bool(self._ask("DELETE", f"/v1/kv/{quote(entry.key)}", {"cas": str(entry.index)}))

    def missing_rights(self, rights: Sequence[Right]) -> list[Right]:
        """Return those of some rights that the token does not give; none where the cluster has no ACLs.

        Consul's UI asks so which of its parts a person may use.

        Raises:
            ForbiddenError: the cluster does not know the token.
        """
        asked = [{"Resource": right.resource, "Segment": right.name, "Access": right.access} for right in rights]
        try:
            answers = self._ask("POST", "/v1/internal/acl/authorize", body=asked)
        except NoAclsError:
            return []
        return [right for right, answer in zip(rights, answers, strict=True) if not answer["Allow"]]

    def create_management_token(self, secret: str) -> None:
        """Create an ACL token with all rights.

        https://developer.hashicorp.com/consul/api-docs/acl/tokens#create-a-token
        """
        body = {"SecretID": secret, "Description": "Management token", "Policies": [{"Name": "global-management"}]}
        self._ask("PUT", "/v1/acl/token", body=body)

    def delete_token(self, accessor: str) -> None:
        """Remove an ACL token; no token can remove itself."""
        self._ask("DELETE", f"/v1/acl/token/{_path(accessor)}")

    def policy(self, name: str) -> dict[str, Any] | None:
        """Return an ACL policy, or None.

        https://developer.hashicorp.com/consul/api-docs/acl/policies
        """
        ids = [each["ID"] for each in self._ask("GET", "/v1/acl/policies") if each["Name"] == name]
        return dict(self._ask("GET", f"/v1/acl/policy/{_path(ids[0])}")) if ids else None

    def policy_tokens(self, policy_id: str) -> list[dict[str, Any]]:
        """Return the ACL tokens that a policy is linked to."""
        return list(self._ask("GET", "/v1/acl/tokens", {"policy": policy_id}))

    def delete_policy(self, policy_id: str) -> None:
        """Remove an ACL policy. The tokens that it is linked to lose its rights."""
        self._ask("DELETE", f"/v1/acl/policy/{_path(policy_id)}")

    def replace_gossip_key(self, key: str) -> None:
        """Have every member take a key, and send with it from then on; what it sends with so far is still taken.

        https://developer.hashicorp.com/consul/api-docs/operator/keyring
        """
        self._ask("POST", "/v1/operator/keyring", body={"Key": key})
        self._ask("PUT", "/v1/operator/keyring", body={"Key": key})

    def deregister_check(self, node: str, check_id: str) -> None:
        """Remove one check from a node that has no agent."""
        self._ask("PUT", "/v1/catalog/deregister", body={"Node": node, "CheckID": check_id})

    def set_status(self, check: Mapping[str, Any], status: str, output: str) -> None:
        """Write what a check found, where no agent runs it.

        Args:
            check: as `node_checks` returns it.
            status: passing, warning or critical.
            output: of its run.
        """
        body = {"Node": check["Node"], "SkipNodeUpdate": True, "Check": {**check, "Status": status, "Output": output}}
        self.register_in_catalog(body)

    def in_catalog(self, node: str, name: str, service_id: str) -> dict[str, Any] | None:
        """Return what the servers hold of a node's service, `Service` and `Checks`, or None.

        https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service
        """
        where = f"Service.ID == {json.dumps(service_id)} and Node.Node == {json.dumps(node)}"
        return next(iter(_entries(self._ask("GET", f"/v1/health/service/{_path(name)}", {"filter": where}))), None)

    def instances(self, name: str, service_id: str) -> list[dict[str, Any]]:
        """Return what the servers hold under a name and an id, on whatever node: `Node`, `Service` and `Checks`.

        Raises:
            HiddenError: the token may not see all of it.
        """
        path, query = f"/v1/health/service/{_path(name)}", {"filter": f"Service.ID == {json.dumps(service_id)}"}
        answer = self._send("GET", path, query)
        if answer.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true":
            raise HiddenError(
                f"GET {self.address}{path}: Consul hides instances: beside service:write on the services, the token "
                "needs node:read on their node"
            )
        return _entries(_json(answer, f"GET {self.address}{path}"))

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        missing_ok: bool = False,
    ) -> Any:  # noqa: ANN401 - JSON
        answer = self._send(method, path, query, body, missing_ok)
        return None if _is_missing(answer) else _json(answer, f"{method} {self.address}{path}")

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        missing_ok: bool = False,
        *,
        pauses: Iterable[float] | None = None,
    ) -> BaseHTTPResponse:
        url = f"{self.address}{path}"
        response = self._try_again(
            method, f"{url}?{urlencode(query)}" if query else url, body, _RETRY_PAUSES if pauses is None else pauses
        )
        if response.status == HTTPStatus.BAD_REQUEST and _PLAIN_HTTP_REFUSED in response.data:
            raise NoAnswerError(
                f"{_without_query(method, url)}: no answer to plain HTTP: what listens there speaks HTTPS"
            )
        if response.status >= HTTPStatus.MULTIPLE_CHOICES and not (missing_ok and _is_missing(response)):
            words = response.data.decode(errors="replace").strip()
            unknown = response.status == HTTPStatus.FORBIDDEN and b"ACL not found" in response.data
            kind = UnknownTokenError if unknown else _ERRORS.get(response.status, ConsulError)
            raise kind(f"{method} {url}: Consul answers {response.status}: {words}")
        return response

    def _try_again(self, method: str, url: str, body: object, pauses: Iterable[float]) -> BaseHTTPResponse:
        """Send a request, again after each pause while nobody is there or the answer is a 5xx."""
        if time.monotonic() < self._silent_until:
            raise SilentError(f"{_without_query(method, url)}: no answer: a request before this one timed out")
        answer = self._try_once(method, url, body)
        for pause in pauses:
            if not _is_temporary(answer):
                break
            time.sleep(pause)
            answer = self._try_once(method, url, body)
        if isinstance(answer, http_errors.ReadTimeoutError):
            self._silent_until = time.monotonic() + _SILENCE
        if isinstance(answer, HTTPError):
            raise _error(_without_query(method, url), answer) from None
        return answer

    def _try_once(self, method: str, url: str, body: object) -> BaseHTTPResponse | HTTPError:
        """Send a request, and return the answer, or why there is none."""
        try:
            return self._http.request(method, url, json=body, redirect=False)
        except HTTPError as error:
            return error


def _is_temporary(answer: BaseHTTPResponse | HTTPError) -> bool:
    """Return whether another try may go better. Who took a request and was silent is not asked again."""
    if isinstance(answer, HTTPError):
        return not isinstance(answer, http_errors.ReadTimeoutError)
    return answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not _is_missing(answer)


def _error(asked: str, error: HTTPError) -> ConsulError:
    if isinstance(error, _NO_ANSWER):
        kind = SilentError if isinstance(error, http_errors.ReadTimeoutError) else NoAnswerError
        return kind(f"{asked}: no answer: {_CONNECTION.sub('', str(error))}")
    if _NO_TLS.search(str(error)):
        return NoAnswerError(f"{asked}: no answer over TLS: what listens there speaks plain HTTP")
    # Such as an SSLError: somebody answers.
    refusal = UntrustedError if "certificate verify failed" in str(error) else ConsulError
    return refusal(f"{asked}: {error}")


def _entries(instances: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**entry, "Service": _whole(entry["Service"])} for entry in instances]


def _whole(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return a service as an agent shows it: the servers leave a port of 0 out, and show an empty meta as null."""
    shown = {key: value for key, value in service.items() if value is not None}
    return {"Port": 0, "Tags": [], "Meta": {}, **shown}


def _only(keys: Sequence[str], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: fields[key] for key in keys if key in fields}


def _is_missing(answer: BaseHTTPResponse) -> bool:
    """Return whether there is no such service or KV entry.

    Of a service, an agent answers 404, and the servers, to a token for it alone, 500; of an entry, 404 and its index.
    """
    if answer.status == HTTPStatus.NOT_FOUND and "X-Consul-Index" in answer.headers:
        return True
    return answer.status >= HTTPStatus.MULTIPLE_CHOICES and b"unknown service" in answer.data.lower()


def _json(answer: BaseHTTPResponse, asked: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(answer.data) if answer.data else None
    except ValueError:
        raise ConsulError(f"{asked}: what answers is no Consul agent: it sends no JSON") from None


def _without_query(method: str, url: str) -> str:
    return f"{method} {url.partition('?')[0]}"


def _path(segment: str) -> str:
    return quote(segment, safe="")
