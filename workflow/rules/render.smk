# From estimates to figures and tables through parameterized notebooks, one for each design, and to the report.


for design, experiments in RUN.designs.items():

    rule:
        name:
            f"notebook_{design.name}"
        input:
            # What is written in it counts (a parameter), not when it was saved.
            ancient(RUN.notebook(design)),
            RUN.estimates(design),
        output:
            RUN.drawn(design, "{experiment}", "{model}_{topology}"),
        log:
            # The executed notebook: kept also when it fails.
            notebook=RUN.layout.notebook(*SYSTEM),
            said=RUN.layout.log("notebook_{experiment}_{model}_{topology}"),
        wildcard_constraints:
            experiment=experiments,
        localrule: True
        resources:
            # Not beside a measurement on the same host.
            host=1,
        params:
            code=lambda wildcards: RUN.drawing_code(wildcards),
            notebook=lambda wildcards: RUN.notebook_cells(wildcards),
            environment=lambda wildcards: RUN.sources.environment,
            parameters=lambda wildcards: RUN.notebook_parameters(wildcards),
        message:
            "drawing {wildcards.experiment}/{wildcards.model}/{wildcards.topology}"
        shell:
            "{RUN.notebook_command} {input[0]} {log.notebook} {params.parameters} > {log.said} 2>&1"
            " || {{ cat {log.said} >&2; exit 1; }}"


rule report:
    input:
        RUN.rendered,
        RUN.layout.claims.with_suffix(".json"),
    output:
        RUN.layout.report,
        RUN.summary_files,
    log:
        RUN.layout.log("report"),
    params:
        code=lambda wildcards: RUN.sources.command("report"),
        template=lambda wildcards: RUN.sources.templates,
        environment=lambda wildcards: RUN.sources.environment,
        choices=lambda wildcards: RUN.chosen,
    message:
        "writing the report"
    shell:
        "{RUN.anarchy} report {RUN.arguments} 2>&1 | tee {log}"
