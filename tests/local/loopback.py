"""Loopback addresses that no other process of the tests uses, at the same time or before."""

import itertools
import os
import socket
from functools import cache
from typing import NamedTuple

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
    """Return the network of this process, and what reserves it until the process ends.

    The search begins at another place in each process, so that what a killed run left listening is rarely met.
    """
    rest, port = _RESERVATION
    for offset in _NETWORKS:
        network = _NETWORKS[(os.getpid() + offset) % len(_NETWORKS)]
        reservation = socket.socket()
        try:
            reservation.bind((f"127.{network}.{rest}", port))
            reservation.listen()
        except OSError:
            reservation.close()
        else:
            return network, reservation
    raise AssertionError("every loopback network of the tests is in use")
