"""Loopback addresses that no other process of the tests uses, at the same time or before."""

import itertools
import os
import socket
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import psutil

_NETWORKS = range(100, 250)  # of 127.N.0.0/16; lower ones are left to people
_RESERVATION = ("254.254", 18500)  # the rest of the address, and the port, that the owner of a network listens on

_numbers = itertools.count(1)


class Addresses(NamedTuple):
    """Where one cluster listens."""

    server: str
    agent: str
    services: str


def new_addresses() -> Addresses:
    """Return three addresses that were not returned before."""
    network, number = _network()[0], next(_numbers)
    return Addresses(*(f"127.{network}.{number}.{host}" for host in (1, 2, 3)))


@cache
def _network() -> tuple[int, socket.socket]:
    """Return the network of this process, and the socket that reserves it until the process ends."""
    rest, port = _RESERVATION
    in_use = _networks_in_use()
    for offset in _NETWORKS:
        network = _NETWORKS[(os.getpid() + offset) % len(_NETWORKS)]
        reservation = socket.socket()
        try:
            reservation.bind((f"127.{network}.{rest}", port))
            reservation.listen()
        except OSError:
            reservation.close()
        else:
            if network not in in_use:
                return network, reservation
            reservation.close()
    raise AssertionError("every loopback network of the tests is in use")


def _networks_in_use() -> set[int]:
    """Return the networks in which something listens, such as what a run that was killed has left."""
    with suppress(psutil.AccessDenied):  # macOS shows it to root alone
        connections = psutil.net_connections("tcp4")
        hosts = [each.laddr[0] for each in connections if each.laddr and each.status == psutil.CONN_LISTEN]
        return {int(host.split(".")[1]) for host in hosts if host.startswith("127.")}
    return set()
