import io
import tarfile
from types import SimpleNamespace
from typing import Any

import docker
import pulumi
import pytest
from docker.errors import APIError, ImageNotFound, NotFound

from components.preflight import Prerequisites, report
from components.template_parsing import Templates
from consul_cluster.template_files import Template
from tests.unit.pulumi_mocks import deploy

IMAGE = "hashicorp/consul-template:0.41.1"
TEMPLATES = Templates(
    IMAGE, (Template("templates/a.conf.ctmpl", "of a, ü"), Template("templates/b.json.ctmpl", "of b"))
)
LOG = (
    "2026-11-29T07:13:40.190Z [WARN] (view) retrying\n2026-11-29T07:13:40.194Z [ERR] (cli) "
    '/etc/consul-template/b.json.ctmpl: parse: template: :3: function "foo" not defined\n'
)


class Engine:
    """A Docker engine whose containers end with a code and say something; keeps what it was asked for.

    Attributes:
        left: containers, by name.
    """

    def __init__(
        self, code: int, log: str = "", images: frozenset[str] = frozenset({IMAGE}), refuses: str | None = None
    ) -> None:
        self.code, self.log, self.had, self.refuses = code, log, images, refuses
        self.left: dict[str, object] = {"consul-template-parse": "left by a killed run"}
        self.did: list[object] = []
        self.created: dict[str, Any] = {}
        self.networks = SimpleNamespace(list=list)
        self.containers = SimpleNamespace(list=lambda **_: [], get=self._get, create=self._create)
        self.images = SimpleNamespace(get=self._image, pull=self.did.append, get_registry_data=self._registry)

    def _image(self, name: str) -> None:
        if name not in self.had:
            raise ImageNotFound(name)

    def _registry(self, name: str) -> None:
        if "absent" in name:
            raise APIError(name, explanation="manifest unknown")

    def _get(self, name: str) -> SimpleNamespace:
        if name not in self.left:
            raise NotFound(name)
        return SimpleNamespace(remove=lambda force: self.left.pop(name) if force else None)

    def _create(self, image: str, command: list[str], **options: object) -> SimpleNamespace:
        assert options["name"] not in self.left
        self.left[str(options["name"])] = self
        self.created = {"image": image, "command": command, **options}
        return SimpleNamespace(
            put_archive=self._put,
            start=self._start,
            wait=lambda timeout: {"StatusCode": self.code} if timeout else None,
            logs=lambda stdout: self.log.encode() if not stdout else b"",
            remove=lambda force: self.left.pop(str(options["name"])) if force else None,
        )

    def _start(self) -> None:
        if self.refuses:
            raise APIError("400 Client Error", explanation=self.refuses)
        self.did.append("started")

    def _put(self, folder: str, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            members = {each.name: files.extractfile(each) for each in files}
            self.did.append((folder, {name: each.read().decode() for name, each in members.items() if each}))


def problems(monkeypatch: pytest.MonkeyPatch, engine: Engine, templates: Templates = TEMPLATES) -> list[str]:
    monkeypatch.setattr(docker, "from_env", lambda **_: engine)
    try:
        deploy(lambda: report([Prerequisites(images=[templates.image], templates=templates)]))
    except pulumi.RunError as error:
        return str(error).splitlines()[1:]
    return []


def test_templates_that_consul_template_parses_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, Engine(0)) == []


def test_a_template_that_consul_template_cannot_parse_is_a_problem_that_names_its_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert problems(monkeypatch, Engine(14, LOG)) == [
        'templates/b.json.ctmpl: parse: template: :3: function "foo" not defined'
    ]


@pytest.mark.parametrize("code", [0, 14])
def test_nothing_of_it_is_left_and_what_a_killed_run_left_is_removed(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    engine = Engine(code, LOG)
    problems(monkeypatch, engine)
    assert engine.left == {}


def test_it_is_the_image_of_the_stack_without_network_or_capabilities_and_only_parses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(0)
    problems(monkeypatch, engine)
    assert engine.created == {
        "image": IMAGE,
        "command": [
            "consul-template",
            "-parse-only",
            "-dry",
            "-template=/etc/consul-template/a.conf.ctmpl:/dev/null",
            "-template=/etc/consul-template/b.json.ctmpl:/dev/null",
        ],
        "name": "consul-template-parse",
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges=true"],
    }


def test_it_has_the_templates_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(0)
    problems(monkeypatch, engine)
    files = {"etc/consul-template/a.conf.ctmpl": "of a, ü", "etc/consul-template/b.json.ctmpl": "of b"}
    assert engine.did == [("/", files), "started"]


def test_an_image_that_only_its_registry_has_is_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(0, images=frozenset())
    problems(monkeypatch, engine)
    assert engine.did[0] == IMAGE


def test_an_image_that_is_not_to_be_had_is_the_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(14, LOG)
    assert problems(monkeypatch, engine, Templates("absent:1", TEMPLATES.files)) == [
        "image absent:1: this Docker engine does not have it, and cannot pull it: manifest unknown"
    ]
    assert engine.created == {}


def test_what_it_says_without_the_words_of_an_error_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, Engine(127, "exec: consul-template: not found\n")) == [
        "exec: consul-template: not found"
    ]


def test_an_image_without_consul_template_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(0, refuses="executable file not found in $PATH")
    assert problems(monkeypatch, engine) == [
        f"image {IMAGE}: consul-template cannot be run: executable file not found in $PATH"
    ]
    assert engine.left == {}
