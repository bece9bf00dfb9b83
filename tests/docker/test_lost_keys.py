"""A secured stack whose state, which had the only copy of its keys, was lost while everything goes on running."""

from pathlib import Path

import pytest

from consul_cluster.client import Consul, ForbiddenError
from operations.verify.report import report
from tests.docker.conftest import HTTPS, all_40, changes, deployed, existing_network, instances, passing, project

CONFIG = {"network": "existing", "security": "on", **HTTPS}

pytestmark = pytest.mark.timeout(600)


def test_after_the_state_of_a_secured_stack_was_lost_up_gives_the_cluster_new_keys(tmp_path: Path) -> None:
    with existing_network(), deployed(project(tmp_path, "docker-local", **CONFIG)) as stack:
        before = stack.engine.outputs()["tokens"]["verify"]
        stack.engine.forget()
        changes(stack)
        fresh = project(tmp_path, "docker-local", **CONFIG)
        passing(fresh)
        assert instances(fresh) == all_40(fresh)
        assert changes(fresh).keys() == {"same"}
        assert [verdict for verdict in report(fresh).verdicts if not verdict.well] == []
        with pytest.raises(ForbiddenError):
            Consul(fresh.server.address, before, fresh.engine.outputs()["ca"]).own_accessor()
