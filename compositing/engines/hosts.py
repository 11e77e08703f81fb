"""Hosts: processes of this machine that hold networks, one for each GPU; workers ask them.

So a network is loaded once for each GPU, not once for each worker, and only hosts load torch. A
host takes one request at a time from its workers, and each worker has one request at a time:
nothing piles up.
"""

from __future__ import annotations

import secrets
import socket
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError, current_process, get_context
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Self

from compositing.engines.base import HostDied, NetworkTask
from compositing.engines.process import prepare_child
from compositing.engines.results import CallResult, network_result, packed, result_of, unpacked
from l2a.errors import L2AError
from l2a.signals import defer_signals

Address = str | tuple[str, int]


@dataclass(slots=True)
class HostClient:
    """Asks a host: an `engines.base.Infer` that travels to workers.

    Workers are numbered in the order of their start, and share the hosts out among themselves by
    that number. Each keeps one connection.

    Attributes:
        addresses: where the hosts listen.
        key: who does not know it is not listened to.
    """

    addresses: tuple[Address, ...]
    key: bytes = field(repr=False)
    _connection: Connection[Any, Any] | None = None

    def __call__(self, part: str, *arguments: Any) -> Any:
        """What the network named `part` gives.

        Raises:
            HostDied: it died meanwhile, or before.
            Exception: what the network raised, as itself.
        """
        number = _own_number() % len(self.addresses)
        try:
            if self._connection is None:
                self._connection = Client(self.addresses[number], authkey=self.key)
            self._connection.send((part, arguments))
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):  # between messages, or within one
            self.close()
            raise HostDied(number) from None
        return unpacked(answer).get()

    def close(self) -> None:
        """Hang up; the next request connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Address, ...], bytes]]:
        """Pickle without the connection, which belongs to one process."""
        return (type(self), (self.addresses, self.key))


def _own_number() -> int:
    """How many children the parent had started when it started this one; 0 in the parent."""
    number = current_process().name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


class Hosts:
    """The hosts of one task; a context manager, at whose end no process is left.

    Args:
        task: what the networks belong to; travels to the hosts.
        devices: one host for each.
        frames_at_once: frames in one pass through a network.
    """

    def __init__(self, task: NetworkTask, devices: Sequence[str], frames_at_once: int) -> None:
        self._task, self._devices, self._frames_at_once = task, tuple(devices), frames_at_once
        # Only this user may look into the folder, so only this user's processes reach the hosts.
        self._folder = tempfile.TemporaryDirectory(prefix="l2a-", ignore_cleanup_errors=True)
        self._processes: dict[int, SpawnProcess] = {}
        addresses = tuple(_address(Path(self._folder.name), n) for n in range(len(self._devices)))
        self.client = HostClient(addresses, secrets.token_bytes(32))

    def __enter__(self) -> Self:
        """Start the hosts.

        Raises:
            L2AError: one died while it started.
        """
        try:
            self.restart(None)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        for process in self._processes.values():
            process.kill()  # it has nothing to finish: its workers have gone before
        for process in self._processes.values():
            process.join()
        self._folder.cleanup()

    def restart(self, death: BaseException | None) -> None:
        """Start the hosts that are not running, where they were before.

        Args:
            death: what came of a dead host or a dead worker.

        Raises:
            L2AError: a host died while it started.
        """
        if isinstance(death, HostDied) and (dead := self._processes.get(death.args[0])):
            # Its connections are closed a moment before it counts as ended.
            dead.kill()
            dead.join()
        missing = [
            number
            for number in range(len(self._devices))
            if number not in self._processes or not self._processes[number].is_alive()
        ]
        started = [self._start(number) for number in missing]
        addresses = list(self.client.addresses)
        for number, ready in zip(missing, started, strict=True):
            with ready:
                addresses[number] = self._first_word(ready, self._devices[number])
        self.client.addresses = tuple(addresses)

    def _start(self, number: int) -> Connection[Any, Any]:
        spawn = get_context("spawn")
        ready, tell = spawn.Pipe(duplex=False)
        process = spawn.Process(
            target=_serve,
            args=(
                self._task,
                self._devices[number],
                self._frames_at_once,
                self.client.addresses[number],
                self.client.key,
                tell,
            ),
            daemon=True,
        )
        with tell, defer_signals():
            process.start()
        self._processes[number] = process
        return ready

    def _first_word(self, ready: Connection[Any, Any], device: str) -> Address:
        try:
            result: CallResult = ready.recv()
        except EOFError:
            raise L2AError(
                f"The process for the networks on {device} died while it started, perhaps out of"
                " memory; the same command resumes where it stopped."
            ) from None
        address: Address = result.get()
        return address


def _address(folder: Path, number: int) -> Address:
    """Where a host listens: a socket file, or a free port of this machine."""
    path = str(folder / str(number))
    # Systems have room for about a hundred characters; Windows has no such files.
    return path if hasattr(socket, "AF_UNIX") and len(path) < 100 else ("localhost", 0)


def _serve(
    task: NetworkTask,
    device: str,
    frames_at_once: int,
    address: Address,
    key: bytes,
    ready: Connection[Any, Any],
) -> None:
    """Run a host, until killed."""
    prepare_child()
    made = result_of(task.on_device, device, frames_at_once)
    if made.error is not None:
        ready.send(made)
        return
    if isinstance(address, str):
        Path(address).unlink(missing_ok=True)  # a dead host's
    turn = threading.Lock()
    # One thread asks the networks: each thread that does takes memory of the GPU.
    with ThreadPoolExecutor(1) as network, Listener(address, authkey=key) as listener:
        server = _Server(made.value, device, frames_at_once, turn, network)
        ready.send(CallResult(listener.address))
        ready.close()
        while True:
            with suppress(AuthenticationError, EOFError, OSError):
                connection = listener.accept()
                threading.Thread(target=server.serve, args=(connection,), daemon=True).start()


@dataclass(frozen=True, slots=True)
class _Server:
    """The part of a host that takes requests, one at a time."""

    task: NetworkTask
    device: str
    frames_at_once: int
    turn: threading.Lock
    network: ThreadPoolExecutor

    def serve(self, connection: Connection[Any, Any]) -> None:
        """Answer what one worker asks, until it hangs up."""
        with connection, suppress(EOFError, OSError):
            while True:
                connection.poll(None)
                # A request is read only when it is its turn, so that one is in memory, not many.
                with self.turn:
                    part, arguments = connection.recv()
                    result = self.network.submit(self._answer, part, arguments).result()
                    connection.send_bytes(packed(result))

    def _answer(self, part: str, arguments: tuple[Any, ...]) -> CallResult:
        return network_result(
            self.task.infer,
            part,
            *arguments,
            device=self.device,
            frames_at_once=self.frames_at_once,
        )
