"""The users' connections, one a frontend: all opened before the cell, and again where one was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from anarchy.ground.errors import UserError
from anarchy.load.connection import StreamConnection, StreamResult
from anarchy.load.payload import Endpoint

CONNECT_BATCH: Final = 64


class Connections:
    """Connections of ``users`` users to each endpoint; call from one event loop."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        users: int,
        on_first_token: Callable[[str], None] | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._users = users
        self._on_first_token = on_first_token
        self._open: list[list[StreamConnection | None]] = [[None] * users for _ in endpoints]
        self.reconnects = 0
        """Connections opened where one had been before."""

    async def open(self) -> None:
        """Open every user's connection to every frontend; raises UserError if one refuses.

        All before the cell, or a router's first switch would pay for connecting within TTFT.
        """
        for frontend, endpoint in enumerate(self._endpoints):
            try:
                await self._open_users(frontend)
            except OSError as error:
                raise UserError(
                    f"no connection: {error}",
                    where=str(endpoint),
                    remedy="see that the frontend runs and listens there; its log says why if it does not",
                ) from error

    async def _open_users(self, frontend: int) -> None:
        connections = self._open[frontend]
        for start in range(0, self._users, CONNECT_BATCH):
            batch = range(start, min(start + CONNECT_BATCH, self._users))
            connections[batch.start : batch.stop] = await asyncio.gather(
                *(self._connect(frontend) for _ in batch)
            )

    def get(self, user: int, frontend: int) -> StreamConnection | None:
        """The user's connection to a frontend; None when there is none that is open."""
        connection = self._open[frontend][user]
        return connection if connection is not None and connection.is_open else None

    async def reopen(self, user: int, frontend: int, deadline: float) -> StreamConnection | StreamResult:
        """Open the user's connection, within ``deadline`` wall s; return the failure if that fails."""
        self.reconnects += self._open[frontend][user] is not None
        try:
            async with asyncio.timeout(deadline):
                connection = self._open[frontend][user] = await self._connect(frontend)
        except (OSError, TimeoutError) as error:
            return StreamResult.nothing("disconnect", str(error) or "no connection within the deadline")
        return connection

    def close(self) -> None:
        """Close everything at once."""
        for connections in self._open:
            for connection in connections:
                if connection is not None:
                    connection.close()

    async def _connect(self, frontend: int) -> StreamConnection:
        loop = asyncio.get_running_loop()
        endpoint = self._endpoints[frontend]
        _, connection = await loop.create_connection(
            lambda: StreamConnection(loop, self._on_first_token), endpoint.host, endpoint.port
        )
        return connection
