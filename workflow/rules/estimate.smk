# From sealed traces to estimates: one job a system, all its launches together.


rule estimate:
    input:
        summaries=lambda wildcards: RUN.summaries(wildcards),
        code=RUN.estimator_sources,
    output:
        [RUN.layout.estimates(*SYSTEM) / file for file in ESTIMATE_FILES],
    log:
        RUN.layout.log("estimate_{experiment}_{model}_{topology}"),
    resources:
        # Not beside a measurement on the same host.
        host=1,
    params:
        settings=lambda wildcards: RUN.estimate_settings(wildcards),
    message:
        "estimating {wildcards.model}/{wildcards.topology}"
    shell:
        "{RUN.anarchy} system {wildcards.experiment} {wildcards.model} {wildcards.topology}"
        " {RUN.arguments} 2>&1 | tee {log}"


rule claims:
    input:
        RUN.judging_sources,
        RUN.system_files,
    output:
        multiext(str(RUN.layout.claims), ".csv", ".json", ".md"),
    log:
        RUN.layout.log("claims"),
    message:
        "judging the published claims"
    shell:
        "{RUN.anarchy} claims {RUN.arguments} 2>&1 | tee {log}"
