"""What happens to the 40 when a service, the agent or the server goes away and comes back."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.engine import EngineError
from operations.service_status import await_passing, statuses
from tests.local.conftest import Stack, cluster_at, running, stack_on
from tests.within import within


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """40 services, passing, on a cluster whose processes these tests stop and start."""
    folder = tmp_path_factory.mktemp("outages")
    project = folder / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: consul-staging\nruntime: python\n")
    with running(cluster_at(2, folder / "consul")) as cluster, stack_on(cluster, project, folder) as stack:
        stack.up()
        passing(stack)
        yield stack


def passing(stack: Stack, patience: float = 45) -> None:
    now = await_passing(stack.consul, stack.roster, lambda _: None, patience)
    assert set(now.values()) == {"passing"}, now


@pytest.mark.parametrize(
    ("service_id", "critical_within", "passing_within"),
    [("billing_service", 10 + 5, 10 + 5), ("minio_grpc_service", 30 + 3, 30 + 3)],
)
def test_a_stopped_service_is_critical_within_its_interval_and_timeout_and_passing_after_its_start(
    deployed: Stack, service_id: str, critical_within: float, passing_within: float
) -> None:
    standin = deployed.cluster.standin(deployed.service(service_id))
    standin.stop()
    within(critical_within, lambda: statuses(deployed.consul, deployed.roster)[service_id] == "critical")
    standin.start()
    within(passing_within, lambda: statuses(deployed.consul, deployed.roster)[service_id] == "passing")


def test_a_killed_agent_comes_back_with_all_40_and_without_up(deployed: Stack) -> None:
    process = deployed.cluster.agent_program.process
    assert process
    process.send_signal(signal.SIGKILL)
    within(5, lambda: deployed.cluster.agent_program.process is None)
    deployed.cluster.start()
    passing(deployed)
    assert deployed.up(refresh=True) == {"same": 42}


def test_a_gently_restarted_agent_comes_back_with_all_40_and_without_up(deployed: Stack) -> None:
    deployed.cluster.agent_program.stop()
    deployed.cluster.start()
    passing(deployed)
    assert deployed.up(refresh=True) == {"same": 42}


def test_a_restarted_server_keeps_all_40_and_without_up(deployed: Stack) -> None:
    deployed.cluster.server_program.stop()
    time.sleep(5)
    of_the_agent = [check["Status"] for check in deployed.consul.all_checks().values()]
    assert of_the_agent == ["passing"] * 40  # it goes on checking
    deployed.cluster.start()
    within(
        30,
        lambda: all(deployed.consul.in_catalog("consul-agent-shared", s.name, s.id) for s in deployed.roster.services),
    )
    assert deployed.up(refresh=True) == {"same": 42}


def test_an_up_without_servers_is_an_error_and_the_next_one_completes_it(deployed: Stack) -> None:
    before = deployed.roster
    deployed.change("billing_service", tags=("v2",))
    deployed.cluster.server_program.stop()
    with pytest.raises(EngineError):
        deployed.up()
    assert "billing_service" in deployed.said
    assert "Consul answers 500: " in deployed.said
    deployed.cluster.start()
    assert deployed.up()["update"] == 1
    entry = deployed.consul.in_catalog("consul-agent-shared", "billing_service", "billing_service")
    assert entry
    assert entry["Service"]["Tags"] == ["v2"]
    deployed.roster = before
    assert deployed.up()["update"] == 1


def test_an_agent_that_lost_its_data_is_filled_again_by_up_refresh(deployed: Stack, tmp_path: Path) -> None:
    deployed.cluster.agent_program.stop()
    data = deployed.cluster.agent_program.folder / "data" / "services"
    data.rename(tmp_path / "lost")
    deployed.cluster.start()
    assert not deployed.consul.all_services()
    assert deployed.up(refresh=True)["create"] == 40
    passing(deployed)
