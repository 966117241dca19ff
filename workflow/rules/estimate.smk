# From sealed traces to estimates: one job a system, all its launches together. What is estimated depends on the
# design of the experiment, so there is a rule for each design of this run.


for design, experiments in RUN.designs.items():

    rule:
        name:
            f"estimate_{design.name}"
        input:
            # <results>/raw/{experiment}/{model}/{topology}/{policy_set}/{launch}/deployment.json of every set and launch
            lambda wildcards: RUN.summaries(wildcards),
        output:
            expand(
                "<results>/estimates/{experiment}/{model}_{topology}/{file}",
                file=design.files,
                allow_missing=True,
            ),
        log:
            "<logs>/estimate_{experiment}_{model}_{topology}.log",
        benchmark:
            "<benchmarks>/estimate_{experiment}_{model}_{topology}.tsv"
        wildcard_constraints:
            experiment=experiments,
        # Before any figure: a notebook can then run beside each of the others.
        priority: 10 + len(design.figures)
        localrule: True
        threads: 1
        resources:
            host=1,
        params:
            # Functions of the wildcards alone, else Snakemake does not compare them. docs/staleness.md
            code=lambda wildcards: RUN.estimate_code(wildcards),
            study=lambda wildcards: RUN.estimate_study(wildcards),
            environment=lambda wildcards: RUN.sources.environment,
        message:
            "estimating {wildcards.experiment}/{wildcards.model}/{wildcards.topology}"
        shell:
            "anarchy system {wildcards.experiment} {wildcards.model} {wildcards.topology}"
            " --processes {threads} 2>&1 | tee {log}"


rule claims:
    input:
        # <results>/estimates/{experiment}/{model}_{topology}/system.json of every system
        RUN.system_files,
    output:
        report(
            "<results>/claims.csv",
            caption="../report/claims.rst",
            category="Claims of the paper",
            labels={"what": "every claim, verdict and number", "format": "csv"},
        ),
        "<results>/claims.json",
        "<results>/claims.md",
        # The same rules under every reading of PoA-hat; none where this run measures no such system.
        [
            report(
                "<results>/claims-readings.csv",
                caption="../report/claims-readings.rst",
                category="Claims of the paper",
                labels={"what": "exploratory: under every reading", "format": "csv"},
            ),
            "<results>/claims-readings.md",
        ]
        if RUN.has_readings
        else [],
        # And of every setting of a sample.
        [
            report(
                "<results>/claims-settings.csv",
                caption="../report/claims-settings.rst",
                category="Claims of the paper",
                labels={
                    "what": "exploratory: settings of the sample",
                    "format": "csv",
                },
            ),
            "<results>/claims-settings.md",
        ]
        if RUN.has_sample
        else [],
    log:
        "<logs>/claims.log",
    benchmark:
        "<benchmarks>/claims.tsv"
    threads: 1
    resources:
        host=1,
    params:
        code=lambda wildcards: RUN.sources.command("claims"),
        published=lambda wildcards: RUN.sources.published,
        environment=lambda wildcards: RUN.sources.environment,
        choices=lambda wildcards: RUN.chosen,
    message:
        "judging the published claims"
    shell:
        "anarchy claims 2>&1 | tee {log}"
