# The knee, from E1's estimate: what E2, E3 and E4 load multiples of. Its output holds the knee as it is used and
# nothing else, so that an estimate made again with the same result measures nothing again.


checkpoint knee:
    input:
        lambda wildcards: RUN.knee_estimate(wildcards),
    output:
        loads=RUN.layout.loads(*KNEE),
        provenance=RUN.layout.provenance(*KNEE),
    log:
        RUN.layout.log("knee_{model}_{topology}"),
    params:
        settings=lambda wildcards: RUN.knee_settings(wildcards),
    message:
        "the knee of {wildcards.model}/{wildcards.topology}, from E1"
    shell:
        "{RUN.anarchy} knee {wildcards.model} {wildcards.topology} {RUN.arguments} 2>&1 | tee {log}"


def loads(wildcards):
    """The file with the knee that a deployment's loads hang on, measured first; none where they hang on none."""
    knee = RUN.measured_knee(wildcards)
    return checkpoints.knee.get(**knee).output.loads if knee else []
