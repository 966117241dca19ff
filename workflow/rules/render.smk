# From estimates to figures and tables through parameterized notebooks, and to the report.


rule notebook:
    input:
        "notebooks/{experiment}.ipynb",
        [RUN.layout.estimates(*SYSTEM) / file for file in ESTIMATE_FILES],
        code=RUN.drawing_sources,
    output:
        RUN.figures("{experiment}", "{model}_{topology}"),
        RUN.tables("{experiment}", "{model}_{topology}"),
    log:
        # The executed notebook: kept also when it fails.
        notebook=RUN.layout.notebook(*SYSTEM),
        said=RUN.layout.log("notebook_{experiment}_{model}_{topology}"),
    resources:
        # Not beside a measurement on the same host.
        host=1,
    message:
        "drawing {wildcards.model}/{wildcards.topology}"
    shell:
        "{RUN.papermill} {input[0]} {log.notebook} -p model {wildcards.model} -p topology {wildcards.topology}"
        " -p tier {config[tier]} -p results {config[results]} > {log.said} 2>&1"
        " || {{ cat {log.said} >&2; exit 1; }}"


rule report:
    input:
        RUN.rendered,
        RUN.layout.claims.with_suffix(".json"),
        code=RUN.drawing_sources,
    output:
        RUN.layout.report,
        RUN.figures("equilibrium", "overview", ("poa",)),
        multiext(str(RUN.layout.root / "tables" / "summary"), ".csv", ".tex"),
    log:
        RUN.layout.log("report"),
    message:
        "writing the report"
    shell:
        "{RUN.anarchy} report {RUN.arguments} 2>&1 | tee {log}"
