"""A real Prometheus, with the rules and the configuration that a stack deploys, and a real consul_exporter."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from consul_cluster.agent_configuration import server_config
from operations.sandbox import sandbox as sandboxes
from tests.local.stacks import deployed_stack
from tests.monitoring.monitored import Monitored, monitored
from tests.monitoring.programs import obstacle


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail where nothing could be proved: a run whose tests are all skipped would be green."""
    if session.config.option.collectonly:
        return
    with TemporaryDirectory() as folder:
        if reason := obstacle(Path(folder)):
            raise pytest.UsageError(reason)


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """Twelve services, deployed and passing, with a server that keeps metrics; Prometheus has scraped all of it."""
    folder = tmp_path_factory.mktemp("monitored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandboxes, "server_config", partial(server_config, telemetry=True))
        with deployed_stack(folder) as stack, monitored(stack, folder) as found:
            yield found
