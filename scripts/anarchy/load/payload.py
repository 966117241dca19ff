"""The bytes of one completion request."""

from __future__ import annotations

import json
from dataclasses import dataclass

from anarchy.load.workload import UNIQUE_PROMPT, Request


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
    """Writes HTTP requests for one endpoint, encoding each template's prompt only once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._head = (
            f"POST {endpoint.path} HTTP/1.1\r\nHost: {endpoint}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        fixed = {
            "model": endpoint.model,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            "nvext": {"extra_fields": ["worker_id", "timing"]},
        }
        self._body = json.dumps(fixed, separators=(",", ":"))[:-1]
        self._prompts: dict[int, str] = {}

    def write(self, request: Request) -> bytes:
        """Return head and body of a request that is to get exactly its output tokens, streamed."""
        n = request.output_tokens
        body = f'{self._body},"max_tokens":{n},"min_tokens":{n},"prompt":[{self._prompt(request)}]}}'
        return f"{self._head}{len(body)}\r\n\r\n{body}".encode("ascii")

    def _prompt(self, request: Request) -> str:
        if request.template == UNIQUE_PROMPT:
            return ",".join(map(str, request.prompt))
        known = self._prompts.get(request.template)
        if known is None:
            known = self._prompts[request.template] = ",".join(map(str, request.prompt))
        return known
