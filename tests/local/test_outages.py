"""What happens to services when a service, the agent or the server goes away and comes back."""

import signal
import time
from pathlib import Path

import pytest

from operations.pulumi_engine import EngineError
from tests.local.stacks import RESOURCES, TWELVE, EditableStack
from tests.statuses import require_passing, statuses
from tests.waiting import within


@pytest.mark.parametrize(
    ("service_id", "critical_within", "passing_within"),
    [("billing_service", 1 + 5, 1 + 5), ("minio_grpc_service", 1 + 3, 1 + 3)],
)
def test_a_stopped_service_is_critical_within_its_interval_and_timeout_and_passing_after_its_start(
    deployed: EditableStack, service_id: str, critical_within: float, passing_within: float
) -> None:
    standin = deployed.sandbox.stand_in(deployed.service(service_id))
    standin.stop()
    within(critical_within, lambda: statuses(deployed.consul, deployed.roster)[service_id] == "critical")
    standin.start()
    within(passing_within, lambda: statuses(deployed.consul, deployed.roster)[service_id] == "passing")


def test_a_killed_agent_comes_back_with_all_services_and_without_up(deployed: EditableStack) -> None:
    process = deployed.sandbox.agent_process.running
    assert process
    process.send_signal(signal.SIGKILL)
    within(5, lambda: deployed.sandbox.agent_process.running is None)
    deployed.sandbox.start()
    require_passing(deployed.consul, deployed.roster)
    assert deployed.up(refresh=True) == {"same": RESOURCES}


def test_a_gently_restarted_agent_comes_back_with_all_services_and_without_up(deployed: EditableStack) -> None:
    deployed.sandbox.agent_process.stop()
    deployed.sandbox.start()
    require_passing(deployed.consul, deployed.roster)
    assert deployed.up(refresh=True) == {"same": RESOURCES}


def test_a_restarted_server_keeps_all_services_and_without_up(deployed: EditableStack) -> None:
    deployed.sandbox.server_process.stop()
    time.sleep(5)
    of_the_agent = [check["Status"] for check in deployed.consul.all_checks().values()]
    assert of_the_agent == ["passing"] * len(TWELVE)  # it goes on checking
    deployed.sandbox.start()
    within(
        30,
        lambda: all(deployed.consul.in_catalog("consul-agent-shared", s.name, s.id) for s in deployed.roster.services),
    )
    assert deployed.up(refresh=True) == {"same": RESOURCES}


def test_an_up_without_servers_is_an_error_and_the_next_one_completes_it(deployed: EditableStack) -> None:
    before = deployed.roster
    deployed.change("billing_service", tags=("v2",))
    deployed.sandbox.server_process.stop()
    with pytest.raises(EngineError):
        deployed.up()
    assert "billing_service" in deployed.said
    assert "Consul answers 500: " in deployed.said
    deployed.sandbox.start()
    assert deployed.up()["update"] == 1
    entry = deployed.consul.in_catalog("consul-agent-shared", "billing_service", "billing_service")
    assert entry
    assert entry["Service"]["Tags"] == ["v2"]
    deployed.roster = before
    assert deployed.up()["update"] == 1


def test_an_agent_that_lost_its_data_is_filled_again_by_up_refresh(deployed: EditableStack, tmp_path: Path) -> None:
    deployed.sandbox.agent_process.stop()
    data = deployed.sandbox.agent_process.folder / "data" / "services"
    data.rename(tmp_path / "lost")
    deployed.sandbox.start()
    assert not deployed.consul.all_services()
    assert deployed.up(refresh=True)["create"] == len(TWELVE)
    require_passing(deployed.consul, deployed.roster)
