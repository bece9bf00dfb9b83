"""Prometheus, which scrapes Consul and evaluates the alert rules, and consul_exporter, which asks for the services."""

from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from components.child_options import after, child_options
from components.config_volume import Uploads, uploads
from components.container_arguments import http_check, kept_running, published
from components.interrupted_creation import container_options
from docker_engine import OWN_ENGINE, DockerEngine
from docker_hosts import Publish
from monitoring.alert_rules import alert_rules
from monitoring.monitored_cluster import (
    CA_FILE,
    EXPORTER_CONTAINER,
    EXPORTER_PORT,
    FOLDER,
    PROMETHEUS_CONTAINER,
    TOKEN_FILE,
    MonitoredCluster,
)
from monitoring.scrape_configuration import RULES_FILE, scrape_configuration
from monitoring.yaml_text import yaml_text
from services.roster import Roster

_USER = "nobody"  # as in both images
_PROMETHEUS_PORT = 9090
_DATA = "/prometheus"
_GRACE_SECONDS = 30

# What comes first ends it. https://prometheus.io/docs/prometheus/latest/storage/#operational-aspects
_RETENTION = ("--storage.tsdb.retention.time=15d", "--storage.tsdb.retention.size=2GB")

# A Prometheus that has just started takes the last sample of each series for the present one, for 5 min by default: a
# service that the stack drops would be missing for so long. Three scrapes are enough.
# https://prometheus.io/docs/prometheus/latest/querying/basics/#staleness
_LOOKBACK = "--query.lookback-delta=45s"


@dataclass(frozen=True)
class MonitoringArgs:
    """Arguments of `Monitoring`.

    Attributes:
        prometheus_image: Prometheus', by exact tag.
        exporter_image: consul_exporter's, by exact tag.
        network: the Docker network of Consul.
        cluster: the Consul.
        roster: the services that it is to have.
        publish: where Prometheus' UI is published; None: it is not.
        token: the access token of both; kept as a secret.
        ca: PEM text of the authority behind the APIs' certificates; None: they are plain HTTP.
        engine: that the containers run in.
    """

    prometheus_image: str
    exporter_image: str
    network: pulumi.Input[str]
    cluster: MonitoredCluster
    roster: Roster
    publish: Publish | None = None
    token: pulumi.Input[str] | None = field(default=None, repr=False)
    ca: pulumi.Input[str] | None = None
    engine: DockerEngine = OWN_ENGINE

    @property
    def access_files(self) -> Uploads:
        """The authority and the token, by path."""
        files: dict[str, pulumi.Input[str]] = {}
        if self.ca is not None:
            files[CA_FILE] = self.ca
        if self.token is not None:
            files[TOKEN_FILE] = pulumi.Output.secret(self.token)
        return files


class Monitoring(pulumi.ComponentResource):
    """Prometheus and consul_exporter beside the cluster. Another configuration replaces a container; the data stays."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the images, the volume and the containers. Pulumi waits until both answer."""
        super().__init__("consul-staging:docker:Monitoring", name, None, opts)
        child = child_options(self, opts)
        exporter = _exporter(f"{name}-exporter", args, child)
        _prometheus(f"{name}-prometheus", args, after(child, [exporter]))
        self.register_outputs({})


def _exporter(name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions) -> docker.Container:
    """Declare consul_exporter. It takes the token from a file: an environment variable would show in `docker inspect`.

    https://github.com/prometheus/consul_exporter
    """
    cluster, image = args.cluster, _image(name, args.exporter_image, opts)
    return docker.Container(
        f"{name}-container",
        name=EXPORTER_CONTAINER,
        image=image.image_id,
        hostname=EXPORTER_CONTAINER,
        user=_USER,
        command=[
            f"--consul.server={cluster.scheme}://{cluster.api}",
            "--consul.timeout=5s",
            # It asks for each service at once, and Consul takes 200 connections of a client.
            "--consul.request-limit=50",
            *([f"--consul.ca-file={CA_FILE}"] if args.ca is not None else []),
        ],
        envs=[f"CONSUL_HTTP_TOKEN_FILE={TOKEN_FILE}"] if args.token is not None else [],
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
        uploads=uploads(args.access_files),
        opts=container_options(opts, args.engine, EXPORTER_CONTAINER),
        **kept_running(http_check(f"http://127.0.0.1:{EXPORTER_PORT}/")),  # its metrics would ask Consul
    )


def _prometheus(name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions) -> None:
    image = _image(name, args.prometheus_image, opts)
    data = docker.Volume(f"{name}-data", name=f"{PROMETHEUS_CONTAINER}-data", opts=opts)
    files: Uploads = {
        f"{FOLDER}/prometheus.yml": yaml_text(scrape_configuration(args.cluster)),
        f"{FOLDER}/{RULES_FILE}": yaml_text(alert_rules(args.roster, args.cluster, pulumi.get_stack())),
        **args.access_files,
    }
    docker.Container(
        f"{name}-container",
        name=PROMETHEUS_CONTAINER,
        image=image.image_id,
        hostname=PROMETHEUS_CONTAINER,
        user=_USER,
        command=[f"--config.file={FOLDER}/prometheus.yml", f"--storage.tsdb.path={_DATA}", *_RETENTION, _LOOKBACK],
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
        ports=published(args.publish, _PROMETHEUS_PORT),
        volumes=[docker.ContainerVolumeArgs(container_path=_DATA, volume_name=data.name)],
        uploads=uploads(files),
        stop_timeout=_GRACE_SECONDS,
        opts=container_options(opts, args.engine, PROMETHEUS_CONTAINER),
        **kept_running(http_check(f"http://127.0.0.1:{_PROMETHEUS_PORT}/-/ready"), _GRACE_SECONDS),
    )


def _image(name: str, tag: str, opts: pulumi.ResourceOptions) -> docker.RemoteImage:
    return docker.RemoteImage(f"{name}-image", name=tag, keep_locally=True, opts=opts)
