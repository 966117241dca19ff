# From sealed traces to estimates: one job a system, all its launches together. What is estimated depends on the
# design of the experiment, so there is a rule for each design of this run.


for design, experiments in RUN.designs.items():

    rule:
        name:
            f"estimate_{design.name}"
        input:
            summaries=lambda wildcards: RUN.summaries(wildcards),
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
            # Functions of the wildcards alone, else Snakemake does not compare them. docs/staleness.md
            code=lambda wildcards: RUN.estimate_code(wildcards),
            study=lambda wildcards: RUN.estimate_study(wildcards),
            environment=lambda wildcards: RUN.sources.environment,
        message:
            "estimating {wildcards.experiment}/{wildcards.model}/{wildcards.topology}"
        shell:
            "{RUN.anarchy} system {wildcards.experiment} {wildcards.model} {wildcards.topology}"
            " {RUN.arguments} 2>&1 | tee {log}"


rule claims:
    input:
        RUN.system_files,
    output:
        multiext(str(RUN.layout.claims), ".csv", ".json", ".md"),
    log:
        RUN.layout.log("claims"),
    params:
        code=lambda wildcards: RUN.sources.command("claims"),
        published=lambda wildcards: RUN.sources.published,
        environment=lambda wildcards: RUN.sources.environment,
        choices=lambda wildcards: RUN.chosen,
    message:
        "judging the published claims"
    shell:
        "{RUN.anarchy} claims {RUN.arguments} 2>&1 | tee {log}"
