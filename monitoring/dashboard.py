"""The dashboard of a stack's Consul, for Grafana.

Only `render-monitoring` imports it, and with it the SDK, which nothing else needs.
https://grafana.com/docs/grafana/latest/developers/foundation-sdk/
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from grafana_foundation_sdk.builders import bargauge, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row, ThresholdsConfig
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

from monitoring.alert_rules import STATED_SERVICE
from monitoring.grafana_provisioning import DATA_SOURCE
from monitoring.scrape_configuration import AGENTS_JOB, SERVERS_JOB

Panel: TypeAlias = timeseries.Panel | stat.Panel | statetimeline.Panel | bargauge.Panel

_HEALTHY = "max by (service_id) (consul_catalog_service_node_healthy)"
_GROUP = f"on (service_id) group_left (group) {STATED_SERVICE}"
_STATED = f"count by (group) ({STATED_SERVICE})"
_REGISTERED = f"count by (group) ({STATED_SERVICE} and on (service_id) consul_catalog_service_node_healthy)"
_MISSING = f"{_STATED} - ({_REGISTERED} or 0 * {_STATED})"
_MAINTENANCE = 'count(consul_health_service_status{check=~"_service_maintenance:.*", status="critical"}) or vector(0)'

_DATA_SOURCE = DataSourceRef(type_val="prometheus", uid=DATA_SOURCE)
_WIDTH = 24  # columns of a dashboard
_HEIGHT = 8


def _with_status(status: str) -> str:
    """Return how many services of each group have a check with a status, 0 included."""
    checks = f'consul_health_service_status{{status="{status}", check!~"_service_maintenance:.*"}}'
    return f"sum by (group) (max by (service_id) ({checks}) * {_GROUP})"


@dataclass(frozen=True)
class _Panel:
    """A panel.

    Attributes:
        title: above it.
        make: makes an empty one.
        queries: in PromQL, by what their series are called.
        width: in columns, of 24.
        unit: of its values.
    """

    title: str
    make: Callable[[], Panel]
    queries: Mapping[str, str]
    width: int = _WIDTH // 2
    unit: str = "short"


def _count() -> Panel:
    return stat.Panel()


def _problems() -> Panel:
    """Return a number that is green only at 0."""
    steps = [Threshold(value=None, color="green"), Threshold(value=1, color="red")]
    return stat.Panel().thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))


def _states() -> Panel:
    shown = {
        "1": ValueMappingResult(text="passing", color="green"),
        "0": ValueMappingResult(text="not passing", color="red"),
    }
    return statetimeline.Panel().mappings([ValueMap(options=shown)]).merge_values(True)


_ROWS: Mapping[str, Sequence[_Panel]] = {
    "Now": (
        _Panel("Passing", _count, {"": f"sum({_HEALTHY})"}, 4),
        _Panel("Critical", _problems, {"": f"sum({_with_status('critical')})"}, 4),
        _Panel("Missing", _problems, {"": f"sum({_MISSING})"}, 4),
        _Panel("In maintenance", _count, {"": _MAINTENANCE}, 4),
        _Panel("Alerts", _problems, {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'}, 4),
        _Panel("Without a leader", _problems, {"": "1 - consul_raft_leader"}, 4),
    ),
    "Services by state and group": (
        _Panel("Passing", timeseries.Panel, {"{{group}}": f"sum by (group) ({_HEALTHY} * {_GROUP})"}),
        _Panel(
            "Not passing",
            timeseries.Panel,
            {
                "{{group}} critical": _with_status("critical"),
                "{{group}} warning": _with_status("warning"),
                "{{group}} missing": _MISSING,
            },
        ),
    ),
    "Time in state": (
        _Panel("State of each service", _states, {"{{service_id}}": _HEALTHY}, _WIDTH),
        _Panel(
            "Least time passing",
            bargauge.Panel,
            {"{{service_id}}": "bottomk(10, avg_over_time(consul_catalog_service_node_healthy[$__range]))"},
            unit="percentunit",
        ),
        _Panel(
            "Flapping: changes of state in an hour",
            bargauge.Panel,
            {"{{service_id}}": "topk(10, changes(consul_catalog_service_node_healthy[1h]))"},
        ),
    ),
    "Agent and server": (
        _Panel("Members alive", timeseries.Panel, {"{{role}}": "count by (role) (consul_serf_lan_member_info == 1)"}),
        _Panel(
            "RPC of agents and servers",
            timeseries.Panel,
            {
                "{{instance}} sent": f'rate(consul_client_rpc{{job="{AGENTS_JOB}"}}[$__rate_interval])',
                "{{instance}} answered": f'rate(consul_rpc_request{{job="{SERVERS_JOB}"}}[$__rate_interval])',
            },
            unit="reqps",
        ),
        _Panel("Memory", timeseries.Panel, {"{{instance}}": "consul_runtime_alloc_bytes"}, unit="bytes"),
        _Panel(
            "Time until certificates end", timeseries.Panel, {"{{instance}}": "consul_agent_tls_cert_expiry"}, unit="s"
        ),
    ),
    "Registrations": (
        _Panel(
            "Instances in the catalog",
            timeseries.Panel,
            {"registered": "count(consul_catalog_service_node_healthy)", "stated": f"count({STATED_SERVICE})"},
        ),
        _Panel(
            "Changes of the catalog",
            timeseries.Panel,
            {
                "registered": f'rate(consul_fsm_register_count{{job="{SERVERS_JOB}"}}[$__rate_interval])',
                "deregistered": f'rate(consul_fsm_deregister_count{{job="{SERVERS_JOB}"}}[$__rate_interval])',
            },
            unit="cps",
        ),
    ),
}


def dashboard(stack: str) -> dict[str, Any]:
    """Return the dashboard as Grafana reads it.

    Args:
        stack: its name.
    """
    built = (
        Dashboard(f"Consul of {stack}")
        .uid(f"consul-{stack}")
        .tags(["consul"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .readonly()
    )
    ids = itertools.count(1)
    for title, panels in _ROWS.items():
        built = built.with_row(Row(title).id(next(ids)))
        for panel in panels:
            built = built.with_panel(_built(panel).id(next(ids)))
    document: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
    return document


def _built(panel: _Panel) -> Panel:
    made = panel.make()
    made.title(panel.title).datasource(_DATA_SOURCE).unit(panel.unit).span(panel.width).height(_HEIGHT)
    for number, (legend, expr) in enumerate(panel.queries.items()):
        made.with_target(prometheus.Dataquery().expr(expr).legend_format(legend).ref_id("ABC"[number]).range())
    return made
