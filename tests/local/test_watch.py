"""`watch` on a real Consul 1.17.2: changes as they happen, outages, and the end by Ctrl-C."""

import json
import os
from collections.abc import Iterator

import pytest

from tests.local.clones import Clone
from tests.local.stacks import repair
from tests.local.watching import Watch, watching


@pytest.fixture(autouse=True)
def _repair(clone: Clone) -> Iterator[None]:
    yield
    repair(clone.sandbox)


def test_a_service_that_stops_and_starts_is_two_lines(clone: Clone) -> None:
    with watching(clone) as watch:
        watch.says("12 of 12")
        standin = clone.stand_in("billing_service")
        standin.stop()
        watch.says("billing_service passing -> critical\n", 5)
        standin.start()
        watch.says("billing_service critical -> passing\n", 5)


def test_ctrl_c_ends_it_with_0_and_no_trace(clone: Clone) -> None:
    with watching(clone) as watch:
        watch.says("12 of 12")
        assert watch.interrupt() == 0
        assert watch.process.stderr
        assert watch.process.stderr.read() == ""


def test_json_is_an_object_a_line(clone: Clone) -> None:
    with watching(clone, "--json") as watch:
        watch.says('"event": "start"')
        clone.agent.deregister("billing_service")
        line = json.loads("{" + lines_until(watch, "change"))
        assert (line["service"], line["old"], line["new"]) == ("billing_service", "passing", "missing")


def lines_until(watch: Watch, kind: str) -> str:
    """Return the rest of the line that tells of an event."""
    watch.says(rf'\n{{(?="time": "[^"]+", "event": "{kind}")')
    while "\n" not in watch.text:
        watch.text += os.read(watch.output, 65536).decode()
    return watch.text.partition("\n")[0]


def test_it_survives_an_agent_that_is_killed_and_comes_back(clone: Clone) -> None:
    with watching(clone) as watch:
        watch.says("12 of 12")
        process = clone.sandbox.agent_process.running
        assert process
        process.kill()
        watch.says(r"no news: GET http://\S+: no answer", 5)
        clone.sandbox.start()
        watch.says("news again", 10)
        clone.agent.deregister("billing_service")
        watch.says("billing_service (passing|critical) -> missing", 10)
        assert watch.interrupt() == 0


def test_it_survives_servers_that_are_away(clone: Clone) -> None:
    with watching(clone) as watch:
        watch.says("12 of 12")
        clone.sandbox.server_process.stop()
        watch.says(r"no news: .*Consul answers 500", 20)
        clone.sandbox.start()
        watch.says("news again", 20)
        assert watch.interrupt() == 0


def test_on_a_terminal_it_shows_the_types_in_colour_and_follows(clone: Clone) -> None:
    with watching(clone, terminal=True) as watch:
        watch.says(r"User microservices(.|\n)*\x1b\[32mpassing(.|\n)*AI services(.|\n)*gRPC infrastructure")
        clone.agent.deregister("billing_service")
        watch.says(r"\x1b\[31mmissing \x1b\[0mbilling_service\x1b\[2m \d s", 3)
        assert watch.interrupt() == 0
        assert watch.process.stderr
        assert watch.process.stderr.read() == ""
