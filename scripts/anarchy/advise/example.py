"""The example trace, made here and of nobody's traffic: `python -m anarchy.advise.example FILE`.

Conversations that share one of eight system prompts come by chance, at two rates in turn; after an answer and
a pause a user often goes on, with all that was said as its prompt. Lengths are log-normal. The format is
Mooncake's, the numbers are ours: a day of some service it is not.
"""

from __future__ import annotations

import gzip
import heapq
import json
import random
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from anarchy.advise.workload import MOONCAKE_BLOCK

REQUESTS: Final = 10_000
SEED: Final = 20261129
CONTEXT: Final = 8_000
"""Tokens at most, prompt and answer together: the timing tables end at 8,192."""
RATES: Final = (12.0, 30.0)
"""Conversations that begin, a second, in turn for PERIOD_S each."""
PERIOD_S: Final = 20.0
SYSTEMS: Final = 8
GOES_ON: Final = 0.5
"""Probability that a user asks again."""


def main() -> int:
    """Write the example to the file that is named, gzip without a date."""
    path = Path(sys.argv[1])
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        for row in rows():
            file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
    return 0


def rows(requests: int = REQUESTS, seed: int = SEED) -> Iterator[dict[str, Any]]:
    """The requests in the order of coming, as a Mooncake trace has them."""
    draw = random.Random(seed)
    numbers = count(SYSTEMS * 2)
    waiting: list[tuple[float, int, int, list[int]]] = []
    at = 0.0
    for order in count():
        at += draw.expovariate(RATES[int(at / PERIOD_S) % 2])
        heapq.heappush(waiting, (at, order, *_opening(draw)))
        while waiting and waiting[0][0] <= at:
            came, _, tokens, known = heapq.heappop(waiting)
            answer = min(1 + int(draw.lognormvariate(4.9, 0.7)), CONTEXT // 4)
            tokens = min(tokens, CONTEXT - answer)
            blocks = -(-tokens // MOONCAKE_BLOCK)
            ids = [*known[:blocks], *(next(numbers) for _ in range(blocks - len(known)))]
            yield {
                "timestamp": round(1e3 * came),
                "input_length": tokens,
                "output_length": answer,
                "hash_ids": ids,
            }
            requests -= 1
            if requests == 0:
                return
            if draw.random() < GOES_ON and tokens + answer < CONTEXT // 2:
                asked = tokens + answer + int(draw.lognormvariate(4.5, 0.8)) + 1
                # The block that was begun holds other tokens now; whole ones stay as they were.
                pause = answer * 0.01 + draw.expovariate(1 / 8.0)
                heapq.heappush(waiting, (came + pause, order, asked, ids[: tokens // MOONCAKE_BLOCK]))


def _opening(draw: random.Random) -> tuple[int, list[int]]:
    """Tokens of a first prompt, and the blocks of the system prompt that it begins with."""
    system = draw.choices(range(SYSTEMS), [1.0 / (rank + 1) for rank in range(SYSTEMS)])[0]
    blocks = 1 + system % 2
    own = int(draw.lognormvariate(6.3, 0.9)) + 1
    return blocks * MOONCAKE_BLOCK + own, [2 * system + block for block in range(blocks)]


if __name__ == "__main__":
    sys.exit(main())
