# The knee, from E1's estimate: what E2, E3 and E4 load multiples of. Its output holds the knee as it is used and
# nothing else, so that an estimate made again with the same result measures nothing again.


checkpoint knee:
    input:
        # <results>/estimates/<the ladder>/{model}_{topology}/system.json and cells.parquet
        lambda wildcards: RUN.knee_estimate(wildcards),
    output:
        loads="<results>/knees/{model}_{topology}/loads.json",
        provenance="<results>/knees/{model}_{topology}/provenance.json",
    log:
        "<logs>/knee_{model}_{topology}.log",
    benchmark:
        "<benchmarks>/knee_{model}_{topology}.tsv"
    threads: 1
    resources:
        host=1,
    params:
        settings=lambda wildcards: RUN.knee_settings(wildcards),
    message:
        "the knee of {wildcards.model}/{wildcards.topology}, from E1"
    shell:
        "anarchy knee {wildcards.model} {wildcards.topology} 2>&1 | tee {log}"


def loads(wildcards):
    """The file with the knee that a deployment's loads hang on, measured first; none where they hang on none."""
    knee = RUN.measured_knee(wildcards)
    return checkpoints.knee.get(**knee).output.loads if knee else []
