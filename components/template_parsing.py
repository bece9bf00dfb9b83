"""Has consul-template itself say whether it can parse the templates, before anything is deployed."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container

from components.container_arguments import HARDENED
from consul_cluster.template_files import Template

_CONTAINER = "consul-template-parse"
_FOLDER = "etc/consul-template"
_SECONDS = 30


@dataclass(frozen=True)
class Templates:
    """What consul-template is to parse.

    Attributes:
        image: consul-template's, by exact tag.
        files: the templates.
    """

    image: str
    files: Sequence[Template]


def parse_error(engine: docker.DockerClient, templates: Templates) -> str | None:
    """Return why consul-template refuses one of the templates, if it does. Pulls its image, which is deployed next.

    It parses and runs them in a container without a network, writes nothing, and asks no Consul.
    https://github.com/hashicorp/consul-template/blob/v0.41.1/cli.go

    Raises:
        docker.errors.DockerException: the engine does not answer.
        requests.exceptions.RequestException: the same, or it takes longer than half a minute.
    """
    try:
        _pull(engine, templates.image)
        with _container(engine, templates) as container:
            container.put_archive("/", _archive(templates.files))
            container.start()
            if not container.wait(timeout=_SECONDS)["StatusCode"]:
                return None
            return _said(container.logs(stdout=False).decode(errors="replace"), templates.files)
    except APIError as error:
        return f"image {templates.image}: consul-template cannot be run: {error.explanation}"


def _pull(engine: docker.DockerClient, image: str) -> None:
    try:
        engine.images.get(image)
    except ImageNotFound:
        engine.images.pull(image)


@contextmanager
def _container(engine: docker.DockerClient, templates: Templates) -> Iterator[Container]:
    with suppress(NotFound):  # what a run that was killed has left
        engine.containers.get(_CONTAINER).remove(force=True)
    options = [f"-template=/{_FOLDER}/{each.source}:/dev/null" for each in templates.files]
    container = engine.containers.create(
        templates.image,
        ["consul-template", "-parse-only", "-dry", *options],
        name=_CONTAINER,
        network_mode="none",
        cap_drop=HARDENED["capabilities"]["drops"],
        security_opt=HARDENED["security_opts"],
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def _archive(files: Sequence[Template]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as files_of:
        for template in files:
            content = template.content.encode()
            entry = tarfile.TarInfo(f"{_FOLDER}/{template.source}")
            entry.size = len(content)
            files_of.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def _said(log: str, files: Sequence[Template]) -> str:
    """Return the last line of a log without its time, with the paths of the templates as they are here."""
    last = log.strip().rpartition("\n")[2].partition("[ERR] (cli) ")
    said = last[2] or last[0]
    for template in files:
        said = said.replace(f"/{_FOLDER}/{template.source}", template.path)
    return said
