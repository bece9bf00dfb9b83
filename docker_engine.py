"""The client of the Docker engine that a stack uses."""

import docker


def docker_client(host: str | None) -> docker.DockerClient:
    """Return a client of the engine that Pulumi's Docker provider uses too.

    Args:
        host: the stack's `docker:host`, such as `ssh://user@host`; None: DOCKER_HOST, or the engine of this machine.

    Raises:
        docker.errors.DockerException: the engine does not answer.
    """
    return docker.DockerClient(host, use_ssh_client=True) if host else docker.from_env(use_ssh_client=True)
