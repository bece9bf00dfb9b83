"""The maintenance mode of a service, as an operator enables and ends it."""

from urllib.parse import urlencode

import urllib3


def maintain(
    address: str, service_id: str, reason: str | None, token: str | None = None, ca: str | None = None
) -> None:
    """Have clients not find a service, until that is ended: with no reason.

    https://developer.hashicorp.com/consul/api-docs/agent/service#enable-maintenance-mode
    """
    query = urlencode({"enable": "true", "reason": reason} if reason else {"enable": "false"})
    headers = {"X-Consul-Token": token} if token else None
    with urllib3.PoolManager(headers=headers, ca_cert_data=ca) as http:
        answer = http.request("PUT", f"{address}/v1/agent/service/maintenance/{service_id}?{query}", timeout=10)
    assert answer.status == 200, answer.data
