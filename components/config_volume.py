"""How configuration files get into a container with a read-only file system: such a container takes no uploads."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.container_arguments import HARDENED
from components.interrupted_creation import container_options, is_half_made
from docker_engine import DockerEngine

CONFIG_FOLDER = "/consul/config"
"""Where the volume is mounted: the folder that Consul's image reads."""

Uploads = Mapping[str, pulumi.Input[str]]
"""Content of files, by path."""


def uploads(files: Uploads) -> list[docker.ContainerUploadArgs]:
    """Return files as the argument of a container, which Docker writes before it starts the container."""
    return [docker.ContainerUploadArgs(file=file, content=content) for file, content in files.items()]


@dataclass(frozen=True)
class ConfigVolume:
    """A volume with configuration files.

    Attributes:
        volume: the volume.
        writer: the container that wrote the files. Other files have another writer.
    """

    volume: docker.Volume
    writer: docker.Container


def config_volume(
    name: str,
    node: str,
    image: pulumi.Input[str],
    files: Uploads,
    opts: pulumi.ResourceOptions,
    *,
    engine: DockerEngine,
) -> ConfigVolume:
    """Declare a volume, and a container that writes files into the volume and ends at once.

    Args:
        name: what the names of the resources begin with.
        node: what the names of volume and container begin with.
        image: id of an image that has the command `consul`.
        files: all of them below `CONFIG_FOLDER`.
        opts: as of every resource.
        engine: that the container runs in.
    """
    volume = docker.Volume(f"{name}-config", name=f"{node}-config", opts=opts)
    # "carry" is in deployed states.
    writer = docker.Container(
        f"{name}-carry",
        name=f"{node}-carry",
        image=image,
        entrypoints=["consul"],
        command=["version"],
        network_mode="none",
        volumes=[docker.ContainerVolumeArgs(container_path=CONFIG_FOLDER, volume_name=volume.name)],
        uploads=uploads(files),
        must_run=is_half_made(f"{node}-carry", engine),
        labels=[docker.ContainerLabelArgs(label="purpose", value=f"writes the configuration of {node}, then ends")],
        # Stacks that were deployed without the label keep their container: a change to a label would replace it.
        opts=pulumi.ResourceOptions.merge(
            container_options(opts, engine, f"{node}-carry"), pulumi.ResourceOptions(ignore_changes=["labels"])
        ),
        **HARDENED,
    )
    return ConfigVolume(volume, writer)
