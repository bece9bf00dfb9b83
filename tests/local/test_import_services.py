"""What a real Consul shows of the services that run becomes the lines that state them."""

from operations.import_services.catalog_reader import read_catalog
from operations.import_services.roster_line import roster_line
from tests.local.stacks import EditableStack
from tests.unit.test_import_services import stated_by


def test_the_services_of_a_running_consul_become_the_lines_that_state_them(deployed: EditableStack) -> None:
    before = deployed.consul.all_services()
    lines = [roster_line(found) for found in read_catalog(deployed.sandbox.server_api)]
    assert {line.unexpressed for line in lines} == {()}
    services = {each.id: each for each in map(stated_by, lines)}
    assert services == {each.id: each for each in deployed.roster.services}
    assert deployed.consul.all_services() == before
