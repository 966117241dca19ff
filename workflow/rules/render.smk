# From estimates to figures and tables through parameterized notebooks, one for each design, and to the report.


for design, experiments in RUN.designs.items():

    rule:
        name:
            f"notebook_{design.name}"
        input:
            f"notebooks/{design.notebook}.ipynb",
            RUN.estimates(design),
            code=RUN.drawing_sources,
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
        message:
            "drawing {wildcards.experiment}/{wildcards.model}/{wildcards.topology}"
        shell:
            "{RUN.notebook} {input[0]} {log.notebook} experiment={wildcards.experiment}"
            " model={wildcards.model} topology={wildcards.topology}"
            " tier={config[tier]} results={config[results]} > {log.said} 2>&1"
            " || {{ cat {log.said} >&2; exit 1; }}"


rule report:
    input:
        RUN.rendered,
        RUN.layout.claims.with_suffix(".json"),
        code=RUN.drawing_sources,
    output:
        RUN.layout.report,
        RUN.summary_files,
    log:
        RUN.layout.log("report"),
    message:
        "writing the report"
    shell:
        "{RUN.anarchy} report {RUN.arguments} 2>&1 | tee {log}"
