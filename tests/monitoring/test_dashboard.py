"""Every query of the dashboard, on a real Prometheus that has scraped a real Consul."""

from collections.abc import Iterator

import pytest

from monitoring.dashboard import dashboard
from tests.monitoring.monitored import STACK, Monitored
from tests.waiting import within


def queries() -> Iterator[tuple[str, str]]:
    """Yield the title of a panel and a query of it, for each query."""
    for panel in dashboard(STACK)["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']}: {target['legendFormat']}", target["expr"]


def as_grafana_sends(expr: str) -> str:
    """Return a query with what Grafana puts in the place of its variables."""
    return expr.replace("$__rate_interval", "1m").replace("$__range", "3h")


@pytest.mark.parametrize("expr", [pytest.param(expr, id=name) for name, expr in queries()])
def test_a_query_returns_data(consul: Monitored, expr: str) -> None:
    within(60, lambda: consul.query(as_grafana_sends(expr)))  # a rate needs two scrapes


def test_the_services_of_each_group_are_counted(consul: Monitored) -> None:
    panels = {panel["title"]: panel for panel in dashboard(STACK)["panels"] if panel.get("targets")}
    # the last of the panels of a title: those by group come after the numbers of all
    counted = consul.query(panels["Passing"]["targets"][0]["expr"])
    kinds = {kind: len(list(consul.stack.roster.of_kind(kind))) for kind in ("user", "ai", "grpc")}
    assert {each["metric"]["group"]: int(each["value"][1]) for each in counted} == kinds
