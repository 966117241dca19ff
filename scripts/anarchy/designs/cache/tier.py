"""Working sets of several sizes and skews under every policy, at a grid of C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anarchy.config.policies import Policy
from anarchy.config.routing import RoutingSet
from anarchy.config.tiers import GridTier, Problem
from anarchy.config.values import MOST_ENTRIES, MOST_USERS, Name, each_once
from anarchy.config.workloads import Workload
from anarchy.engines.spec import BLOCK_SIZE


def family(workload: str, skew: float) -> str:
    """Name of the working sets of one skew, whatever their size."""
    return f"{workload}-s{skew:g}"


def popularity(skew: float) -> str:
    """How popular templates are, for people."""
    return f"Zipf {skew:g}" if skew else "uniform"


def prompt_blocks(workload: Workload) -> int:
    """KV blocks of one prompt."""
    return -(-workload.input_tokens // BLOCK_SIZE)


class CacheTier(GridTier):
    """A grid of C for every working set: so many templates, as unequally popular."""

    design: Literal["cache"] = "cache"
    templates: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_USERS)], ...],
        Field(min_length=1, max_length=MOST_ENTRIES),
        AfterValidator(each_once),
    ]
    """Sizes of the working set: prompts that are not alike."""
    skews: Annotated[
        tuple[Annotated[float, Field(strict=True, ge=0, le=10)], ...],
        Field(min_length=1, max_length=MOST_ENTRIES),
        AfterValidator(each_once),
    ]
    """Zipf exponents of their popularity; 0 is uniform."""
    affinity: Name
    """The policy that looks for caches."""
    balance: Name
    """The policy that it is held against, which does not."""

    @property
    def workload_names(self) -> tuple[str, ...]:
        """Every workload that it measures: under each size and skew."""
        return tuple(_name(*one) for one in self._sets)

    def blocks(self, known: Mapping[str, Workload]) -> tuple[Workload, ...]:
        """These workloads, in their order."""
        return tuple(
            Workload.model_validate(
                {
                    **known[workload].model_dump(),
                    "name": _name(workload, skew, templates),
                    "title": f"{known[workload].title}, {templates} of them, {popularity(skew)}",
                    "templates": templates,
                    "skew": skew,
                }
            )
            for workload, skew, templates in self._sets
        )

    @property
    def _sets(self) -> tuple[tuple[str, float, int], ...]:
        return tuple(
            (workload, skew, templates)
            for workload in self.workloads
            for skew in self.skews
            for templates in self.templates
        )

    def misfits(self, known: Mapping[str, Workload], sets: Mapping[str, RoutingSet]) -> Iterator[Problem]:
        """Several pools, a worker that holds no prompt, a workload that has templates already."""
        routing = "/routing" if self.routing is None else "routing"
        if len(sets) > 1:
            yield Problem(
                routing,
                f"{len(sets)} sets ({', '.join(sets)}), and the game is that of one pool",
                "put the policies into one set, or make an experiment of each",
            )
        for name, one in sets.items():
            key = "limits" if one.limits is None else f"{routing}.{name}.limits"
            blocks = (one.limits or self.limits).num_gpu_blocks
            for workload in (known[workload] for workload in self.workloads):
                if blocks < (least := prompt_blocks(workload)):
                    yield Problem(
                        f"{key}.num_gpu_blocks",
                        f"{blocks} blocks are no room for a prompt of {workload.name}, whose "
                        f"{workload.input_tokens} tokens take {least}",
                        f"give a worker {least} or more; of interest are several times that",
                    )
        for place, workload in enumerate(known[name] for name in self.workloads):
            if workload.templates:
                yield Problem(
                    f"workloads.{place}",
                    f"{workload.name} has templates, and this tier says how many there are",
                    "name a workload of unique prompts (templates: 0)",
                )
            if prompt_blocks(workload) < 2:
                yield Problem(
                    f"workloads.{place}",
                    f"prompts of {workload.name} have one KV block, computed anew each time, so that "
                    "no cache can hold any of it",
                    f"name a workload with more than {BLOCK_SIZE} input tokens",
                )

    def problems(self, policies: Sequence[Policy]) -> Iterator[Problem]:
        """A comparison with a policy that is not measured, or with itself."""
        yield from super().problems(policies)
        names = [policy.name for policy in policies]
        if len(self.workloads) > 1:
            yield Problem(
                "workloads",
                f"{len(self.workloads)} workloads, and a pool's room is told in prompts of one length",
                "name one, and make an experiment of each",
            )
        for key in ("affinity", "balance"):
            if getattr(self, key) not in names:
                yield Problem(
                    key,
                    f"{getattr(self, key)!r} is not measured by this tier",
                    f"name one of {', '.join(names)}",
                )
        if self.affinity == self.balance:
            yield Problem("balance", f"{self.balance!r} is held against itself", "name another policy")


def _name(workload: str, skew: float, templates: int) -> str:
    return f"{family(workload, skew)}-t{templates}"


TIER = CacheTier
