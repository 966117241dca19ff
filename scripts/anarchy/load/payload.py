"""The bytes of one completion request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anarchy.load.workload import UNIQUE_PROMPT, Request

if TYPE_CHECKING:
    from anarchy.load.router import Route


@dataclass(frozen=True)
class Endpoint:
    """Where requests go: an OpenAI-compatible frontend and the model's name there."""

    host: str
    port: int
    model: str
    path: str = "/v1/completions"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class PayloadWriter:
    """Writes HTTP requests for some endpoints, encoding what a template's prompts share only once."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._fixed = [_fixed_parts(endpoint) for endpoint in endpoints]
        self._heads: dict[int, str] = {}

    def write(self, request: Request, route: Route) -> bytes:
        """Return head and body of a request that is to get exactly its output tokens, streamed.

        It is pinned to the workers that the route names (Dynamo's ``nvext.prefill_worker_id``,
        ``decode_worker_id``).
        """
        head, start = self._fixed[route.frontend]
        pins = ""
        if route.prefill_id is not None:
            pins = f',"prefill_worker_id":{route.prefill_id}'
        if route.decode_id is not None:
            pins += f',"decode_worker_id":{route.decode_id}'
        n = request.output_tokens
        body = f'{start}{pins}}},"max_tokens":{n},"min_tokens":{n},"prompt":[{self._prompt(request)}]}}'
        return f"{head}{len(body)}\r\n\r\n{body}".encode("ascii")

    def _prompt(self, request: Request) -> str:
        if request.template == UNIQUE_PROMPT:
            return _joined(request.prompt)
        length = len(request.prompt) - request.tail_tokens
        head = self._heads.get(request.template)
        if head is None:
            head = self._heads[request.template] = _joined(request.prompt[:length])
        return f"{head},{_joined(request.prompt[length:])}" if request.tail_tokens else head


def _joined(tokens: Sequence[int]) -> str:
    return ",".join(map(str, tokens))


def _fixed_parts(endpoint: Endpoint) -> tuple[str, str]:
    """The head up to the length, and the body up to the end of what ``nvext`` always holds."""
    head = (
        f"POST {endpoint.path} HTTP/1.1\r\nHost: {endpoint}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    body = {
        "model": endpoint.model,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "nvext": {"extra_fields": ["worker_id", "timing"]},
    }
    return head, json.dumps(body, separators=(",", ":"))[: -len("}}")]
