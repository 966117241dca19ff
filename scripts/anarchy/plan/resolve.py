"""From choices to a run: what is asked for, what that hangs on, whose knee serves it, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

from anarchy.config import KNEE_WORKLOAD, Choices, Study
from anarchy.config.knees import RecordedKnee, standing_in
from anarchy.config.loads import NO_KNEE, Knee
from anarchy.config.site import Site
from anarchy.engines.profiles import Profile
from anarchy.ground.errors import UserError
from anarchy.plan import predict
from anarchy.plan.binding import served, wall_s
from anarchy.plan.deployments import Starts, measuring_knees, no_starts, plan
from anarchy.plan.launches import Stacks, UnboundDeployment, no_stack
from anarchy.plan.run import (
    Prediction,
    Run,
    needed,
    planned_deployment,
    policies_of,
    portable,
    site_digest,
)
from anarchy.plan.stacks import refuse_mixtures


def resolve(
    study: Study,
    choices: Choices,
    profiles: Mapping[str, Profile],
    stacks: Stacks = no_stack,
    recorded: Sequence[RecordedKnee] = (),
    starts: Starts = no_starts,
    site: Site | None = None,
) -> Run:
    """A run, resolved from everything that decides it; E1 is added where what was asked for hangs on it.

    Raises UserError for a selection that holds nothing, and for a knee that nothing may stand in for.
    """
    asked = plan(study, choices, profiles, stacks, starts)
    before: tuple[UnboundDeployment, ...] = ()
    stand_ins: tuple[RecordedKnee, ...] = ()
    if choices.knees == "measured":
        before = measuring_knees(study, choices, asked, profiles, stacks, starts)
    else:
        hanging = (deployment for deployment in asked if deployment.hangs_on_knee)
        found = (_standing_in(recorded, one, profiles[one.model.profile]) for one in hanging)
        stand_ins = tuple(dict.fromkeys(found))
    deployments = (*asked, *before)
    refuse_mixtures(deployments)
    predictions = _predict_all(study, choices, deployments, recorded, profiles)
    paths = {key: portable(getattr(choices, key)) for key in ("results", "site")}
    return Run(
        choices=choices.model_copy(update=paths),
        versions=_versions(deployments),
        study=needed(study, choices.tier, deployments),
        policies=policies_of(deployments),
        profiles={one.model.profile: profiles[one.model.profile].digest for one in deployments},
        site=site_digest(site),
        knees=stand_ins,
        deployments=tuple(
            planned_deployment(one, predicted, prerequisite=place >= len(asked))
            for place, (one, predicted) in enumerate(zip(deployments, predictions, strict=True))
        ),
    )


def _standing_in(recorded: Sequence[RecordedKnee], one: UnboundDeployment, profile: Profile) -> RecordedKnee:
    """The recorded knee of what a deployment is served with; errors as `standing_in`."""
    version = portable(one.stack.version)
    return standing_in(recorded, *one.key[1:3], one.engine, version, served(one, profile))


def _versions(deployments: Iterable[UnboundDeployment]) -> dict[str, str]:
    """Of this project, and of what serves: each stack once."""
    stacks = dict.fromkeys(portable(one.stack.version) for one in deployments)
    return {"anarchy": version("anarchy"), "serving": "; ".join(stacks)}


def _predict_all(
    study: Study,
    choices: Choices,
    deployments: Sequence[UnboundDeployment],
    recorded: Sequence[RecordedKnee],
    profiles: Mapping[str, Profile],
) -> list[Prediction]:
    """What every deployment will cost, launches of one kind computed once."""
    found: dict[tuple[str, ...], Prediction] = {}
    for one in deployments:
        kind = one.key[:4]
        if kind not in found:
            found[kind] = _predict(study, choices, one, recorded, profiles[one.model.profile])
    return [found[one.key[:4]] for one in deployments]


def _predict(
    study: Study,
    choices: Choices,
    one: UnboundDeployment,
    recorded: Sequence[RecordedKnee],
    profile: Profile,
) -> Prediction:
    """What a deployment will cost: at the knee it is thought to have, and at the one that takes longest."""
    if not one.hangs_on_knee:
        wall = wall_s(one, NO_KNEE, profile)
        return Prediction(knee=None, knee_from="", wall_s=wall, at_most_s=wall)
    if choices.knees == "recorded":
        used = _standing_in(recorded, one, profile)
        wall = wall_s(one, Knee(used.value), profile)
        words = f"recorded: {used.run}, engine {used.engine}"
        return Prediction(knee=used.value, knee_from=words, wall_s=wall, at_most_s=wall)
    assert one.experiment.knee_from is not None, "config_checks refuses loads without it"
    grid = study.experiments[one.experiment.knee_from].tiers[choices.tier].grid
    try:
        entry = _standing_in(recorded, one, profile)
        knee, words = entry.value, f"the recorded one ({entry.run}, engine {entry.engine}), until E1 tells it"
    except UserError:
        knee = predict.knee(one.topology, study.workloads[KNEE_WORKLOAD], profile)
        words = f"timing table {one.model.profile}, until E1 tells it"
    # Convex in C: shorter measuring at more load, longer requests past the knee. So one of the ends takes
    # longest.
    at_most = max(wall_s(one, Knee(C, grid), profile) for C in (grid[0], knee, grid[-1]))
    return Prediction(
        knee=knee, knee_from=words, wall_s=wall_s(one, Knee(knee, grid), profile), at_most_s=at_most
    )
