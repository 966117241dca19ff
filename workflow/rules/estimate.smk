# From sealed traces to estimates: one job a system, all its launches together. What is estimated depends on the
# design of the experiment, so there is a rule for each design of this run.


for design, experiments in RUN.designs.items():

    rule:
        name:
            f"estimate_{design.name}"
        input:
            summaries=lambda wildcards: RUN.summaries(wildcards),
            code=RUN.estimator_sources,
        output:
            RUN.estimates(design),
        log:
            RUN.layout.log("estimate_{experiment}_{model}_{topology}"),
        wildcard_constraints:
            experiment=experiments,
        localrule: True
        resources:
            # Not beside a measurement on the same host.
            host=1,
        params:
            settings=lambda wildcards: RUN.estimate_settings(wildcards),
        message:
            "estimating {wildcards.experiment}/{wildcards.model}/{wildcards.topology}"
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
