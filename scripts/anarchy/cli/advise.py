"""The command `anarchy advise`: the best split, tau and omega for an operator's own requests, simulated."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anarchy.cli.extras import check_checkout
from anarchy.cli.traces import usable_cores, whole
from anarchy.ground.bounded import LARGEST_SEED, MOST_WORKERS
from anarchy.ground.errors import UserError

if TYPE_CHECKING:
    from anarchy.advise.advising import Request
    from anarchy.config.systems import Model
    from anarchy.engines.profiles import Profile

HELP: Final = """\
Replay your own requests in virtual time under every split of a budget of GPUs between prefill and decode
workers, and under pairs of tau and omega. Says which setting serves the most requests a second within TTFT
and ITL (goodput), what it costs to stay where you are, and which settings tie. It is simulated: Dynamo's mock
engine and KV router follow the model's timing table; no GPU is asked.

FILE is a Mooncake trace (timestamp in ms, input_length, output_length, hash_ids: a number for every begun
block of 512 prompt tokens) or Dynamo's request trace (DYN_REQUEST_TRACE=1), JSON Lines, plain or gzip.
Requests come at the times of the trace, however long the answers take. docs/advise.md explains every number.
"""
EXAMPLES: Final = """\
examples:
  anarchy advise --trace data/traces/example.jsonl.gz --gpus 24 --model llama-3.1-70b \\
      --ttft-ms 500 --itl-ms 15 --now 1P/5D,tau=0,omega=1
  anarchy advise --trace request-trace.*.jsonl.gz --gpus 24 --model llama-3.1-70b --ttft-ms 500 --itl-ms 15 \\
      --load 1.5 --json
  anarchy advise --trace trace.jsonl --gpus 96 --model llama-3.1-70b --ttft-ms 800 --itl-ms 20 \\
      --splits 4P/20D 8P/16D 12P/12D --tau 0 --omega 0 1
"""
TAUS: Final = (0.0, 0.3, 0.7)
OMEGAS: Final = (0.0, 1.0)
SHARE: Final = 0.9
"""The share of requests within both objectives by which goodput is usual (DistServe, OSDI 2024)."""
DEADLINE_S: Final = 60.0
"""As of the study's own requests."""
LEAST_REPLICATIONS: Final = 3
"""Fewer give no interval."""


def add_command(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser; `add(name, command, help)` makes one."""
    parser = add("advise", _advise, "say which split, tau and omega serve your own requests best (simulated)")
    parser.description, parser.epilog = HELP, EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    needed = parser.add_argument_group("needed")
    needed.add_argument("--trace", nargs="+", type=Path, required=True, metavar="FILE", help="see above")
    needed.add_argument("--gpus", type=whole(1, MOST_WORKERS), required=True, metavar="N", help="the budget")
    needed.add_argument(
        "--model", required=True, help="of workflow/config/models; it says how many GPUs a worker takes"
    )
    needed.add_argument(
        "--ttft-ms", type=_above_0, required=True, metavar="MS", help="objective: first token"
    )
    needed.add_argument(
        "--itl-ms", type=_above_0, required=True, metavar="MS", help="objective: mean time between tokens"
    )
    asked = parser.add_argument_group("what is asked")
    asked.add_argument(
        "--now", type=_by("parse_setting"), metavar="SETTING",
        help="what runs now, such as 1P/5D,tau=0,omega=1: what staying costs is told, and it wins ties",
    )  # fmt: skip
    asked.add_argument(
        "--load", type=_above_0, default=1.0, metavar="X", help="arrivals come X times as fast (default 1)"
    )
    asked.add_argument(
        "--attain", type=_share, default=SHARE, metavar="SHARE",
        help="advise what keeps both objectives for this share of requests, and refuse where nothing does "
        "(default %(default)s)",
    )  # fmt: skip
    asked.add_argument(
        "--splits",
        nargs="+",
        type=_by("parse_split"),
        metavar="SPLIT",
        help="only these, such as 1P/5D 2P/4D",
    )
    asked.add_argument(
        "--tau", nargs="+", type=_by("weight"), default=TAUS, help="router temperatures (default 0 0.3 0.7)"
    )
    asked.add_argument(
        "--omega", nargs="+", type=_by("weight"), default=OMEGAS,
        help="weights of cached prompts (default 0 1); they act with two prefill workers or more",
    )  # fmt: skip
    asked.add_argument(
        "--deadline-s", type=_above_0, default=DEADLINE_S, metavar="S",
        help="a request that takes longer has failed (default 60)",
    )  # fmt: skip
    taken = parser.add_argument_group("what is taken of the trace")
    taken.add_argument("--served-model", metavar="NAME", help="of a trace of several models, the one to take")
    taken.add_argument("--first", type=whole(1), metavar="N", help="only the first N requests")
    taken.add_argument(
        "--longest",
        type=whole(2),
        metavar="TOKENS",
        help="leave out longer requests, prompt and answer together",
    )
    taken.add_argument(
        "--unique-prompts", action="store_true", help="take no hashes: no two prompts share a beginning"
    )
    taken.add_argument(
        "--block-size", type=whole(1, 1 << 20), default=512, metavar="TOKENS",
        help="of a Mooncake trace's blocks (default 512)",
    )  # fmt: skip
    how = parser.add_argument_group("how it is computed and told")
    how.add_argument(
        "--timing", type=Path, metavar="FOLDER", help="timing table (default: the model's, data/profiles)"
    )
    how.add_argument(
        "--replications", type=whole(LEAST_REPLICATIONS, 1_000), default=5, metavar="R",
        help="resampled traces that the best settings are replayed on (default 5)",
    )  # fmt: skip
    how.add_argument("--seed", type=whole(0, LARGEST_SEED), default=0, help="of the resampling (default 0)")
    how.add_argument(
        "--processes", type=whole(1, 256), help="replays side by side (default: one for each usable core)"
    )
    how.add_argument("--json", action="store_true", help="print a JSON document instead")


def _advise(options: argparse.Namespace) -> int:
    check_checkout()
    from anarchy.advise.advising import Watch, advise
    from anarchy.advise.words import document, render

    advice = advise(_request(options), Watch(_say_predicted, _say_replayed))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if options.json:
        print(json.dumps(document(advice), indent=2, allow_nan=False))
    else:
        print(render(advice), end="")
    return 0


def _request(options: argparse.Namespace) -> Request:
    """What is asked; raises UserError for what cannot be before any request is read, then for the trace."""
    from anarchy.advise.advising import Request
    from anarchy.advise.replays import Objectives
    from anarchy.advise.search import Question
    from anarchy.advise.settings import check_split, splits_of, workers_of
    from anarchy.advise.workload import Reading, read_load
    from anarchy.config.limits import Limits

    model = _model(options.model)
    workers = workers_of(options.gpus, model.tensor_parallel, model.name)
    splits = splits_of(workers, options.splits)
    if options.now is not None:
        check_split(options.now.prefill, options.now.decode, workers, "--now")
    profile = _profile(options.timing, model)
    load = read_load(
        options.trace,
        Reading(
            block_size=options.block_size,
            unique=options.unique_prompts,
            first=options.first,
            longest=options.longest,
            model=options.served_model,
            load=options.load,
        ),
    )
    return Request(
        load=load,
        model=model,
        gpus=options.gpus,
        profile=profile,
        question=Question(
            splits=splits,
            taus=sorted(set(options.tau)),
            omegas=sorted(set(options.omega)),
            replications=options.replications,
            now=options.now,
        ),
        objectives=Objectives(options.ttft_ms / 1e3, options.itl_ms / 1e3, options.attain),
        limits=Limits(),
        deadline_s=options.deadline_s,
        seed=options.seed,
        processes=options.processes or usable_cores(),
    )


def _model(name: str) -> Model:
    from anarchy.config.files import load_block
    from anarchy.config.systems import Model
    from anarchy.ground.layout import CONFIG

    known = sorted(file.stem for file in (CONFIG / "models").glob("*.yaml"))
    if name not in known:
        raise UserError(
            f"there is no model {name!r}",
            where="--model",
            remedy=f"known: {', '.join(known)}; docs/extending.md adds one",
        )
    return load_block(CONFIG / "models" / f"{name}.yaml", Model)


def _profile(folder: Path | None, model: Model) -> Profile:
    from anarchy.engines.profiles import load_profile
    from anarchy.ground.layout import PROFILES

    return load_profile(folder if folder is not None else PROFILES / model.profile)


def _say_predicted(replays: int, seconds: float) -> None:
    from anarchy.ground.words import duration

    print(f"at most {replays} replays, predicted {duration(seconds)}", file=sys.stderr, flush=True)


def _say_replayed(done: int, most: int, seconds: float) -> None:
    """One line that is written over on a terminal; elsewhere every tenth replay."""
    from anarchy.ground.words import duration

    left = duration(seconds / done * max(most - done, 0))
    if sys.stderr.isatty():
        print(f"\rreplay {done} of at most {most}, {left} left   ", end="", file=sys.stderr, flush=True)
    elif done % 10 == 0:
        print(f"replay {done} of at most {most}, {left} left", file=sys.stderr, flush=True)


def _above_0(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1e-6 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return value


def _by(name: str) -> Callable[[str], Any]:
    """A parser of `advise.settings`, loaded late, whose complaint argparse prints."""

    def parse(text: str) -> Any:
        from anarchy.advise import settings

        try:
            return getattr(settings, name)(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse
