"""Where each request goes: the small interface between the load client and whatever routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from anarchy.load.workload import Request
from anarchy.trace.schema import RequestRecord


@dataclass(frozen=True, slots=True)
class Labels:
    """What routed the requests, as the trace records it."""

    policy: str
    tau: float | None
    omega: float | None
    """Temperature and overlap weight of Dynamo's cost function; None for a policy that has none."""
    regime: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Where one request goes, and what the trace says of it."""

    labels: Labels
    frontend: int = 0
    """Index of the frontend among the client's endpoints."""
    prefill_id: int | None = None
    decode_id: int | None = None
    """Instance ids of the workers that the request is pinned to; None leaves the choice to the frontend."""


class Router(Protocol):
    """Routes the requests of one cell; all calls come on the client's event loop, times are model seconds.

    What any of them raises ends the cell and comes out of `run_client`.
    """

    async def open(self) -> None:
        """Make ready, before the first request; may raise UserError."""

    async def route(self, request_id: str, request: Request, t: float) -> Route:
        """Choose for a request that is sent as soon as this returns.

        The time that it takes counts into TTFT, as it does for a real client. It is cancelled when the cell
        ends before it has chosen; then `ended` is not called.
        """

    def first_token(self, request_id: str) -> None:
        """Its first token has arrived: prefill is over. At most once a request, before `ended`."""

    def ended(self, request_id: str, record: RequestRecord) -> None:
        """Called once for each request that was routed, however it ended.

        A record of status ``cancelled`` is of a request that the end of the cell cut off or kept from being
        sent; it stands in no trace.
        """

    async def close(self) -> None:
        """Let everything go; called whenever `open` was, also where that failed. Must not wait for ever."""


class FixedRouter:
    """Gives every request the same route, at no cost: the client does not even call it."""

    def __init__(self, fixed: Route) -> None:
        self.fixed = fixed

    async def open(self) -> None:
        """Nothing to make ready."""

    async def route(self, request_id: str, request: Request, t: float) -> Route:  # noqa: ARG002
        """The one route."""
        return self.fixed

    def first_token(self, request_id: str) -> None:
        """Nothing to note."""

    def ended(self, request_id: str, record: RequestRecord) -> None:
        """Nothing to free."""

    async def close(self) -> None:
        """Nothing to let go."""
