# From estimates to figures and tables through parameterized notebooks, one for each design, and to the report.


for design, experiments in RUN.designs.items():

    rule:
        name:
            f"notebook_{design.name}"
        input:
            # What is written in it counts (a parameter), not when it was saved.
            source=ancient(RUN.notebook(design)),
            estimates=expand(
                "<results>/estimates/{experiment}/{model}_{topology}/{file}",
                file=design.files,
                allow_missing=True,
            ),
        output:
            [
                report(
                    expand(
                        "<results>/figures/{experiment}/{model}_{topology}_{figure}.svg",
                        figure=name,
                        allow_missing=True,
                    ),
                    caption=f"../report/{design.name}/{name}.rst",
                    category=f"{design.id}, {design.title}",
                    subcategory="{model} {topology}",
                    labels={"experiment": "{experiment}", "figure": name},
                )
                for name in design.figures
            ],
            expand(
                "<results>/figures/{experiment}/{model}_{topology}_{figure}.{format}",
                figure=design.figures,
                format=["pdf", "png", "narrow.svg"],
                allow_missing=True,
            ),
            [
                report(
                    expand(
                        "<results>/tables/{experiment}/{model}_{topology}{table}.csv",
                        table=RUN.tail(name),
                        allow_missing=True,
                    ),
                    caption="../report/table.rst",
                    category=f"{design.id}, {design.title}",
                    subcategory="{model} {topology}",
                    labels={
                        "experiment": "{experiment}",
                        "table": name or design.main,
                    },
                )
                for name in design.tables
            ],
            expand(
                "<results>/tables/{experiment}/{model}_{topology}{table}.tex",
                table=[RUN.tail(name) for name in design.tables],
                allow_missing=True,
            ),
        log:
            # The executed notebook: kept also when it fails.
            notebook="<results>/notebooks/{experiment}_{model}_{topology}.ipynb",
            messages="<logs>/notebook_{experiment}_{model}_{topology}.log",
        benchmark:
            "<benchmarks>/notebook_{experiment}_{model}_{topology}.tsv"
        wildcard_constraints:
            experiment=experiments,
        # Those with most to draw first: nothing else then waits for them at the end.
        priority: len(design.figures)
        localrule: True
        threads: 1
        resources:
            host=1,
        params:
            code=lambda wildcards: RUN.drawing_code(wildcards),
            notebook=lambda wildcards: RUN.notebook_cells(wildcards),
            environment=lambda wildcards: RUN.sources.environment,
            parameters=lambda wildcards: RUN.notebook_parameters(wildcards),
        message:
            "drawing {wildcards.experiment}/{wildcards.model}/{wildcards.topology}"
        shell:
            "(notebook {input.source} {log.notebook} {params.parameters}) > {log.messages} 2>&1"
            " || {{ cat {log.messages} >&2; exit 1; }}"


rule report:
    input:
        # <results>/figures/{experiment}/{model}_{topology}_*, <results>/tables/{experiment}/{model}_{topology}* of every system
        RUN.rendered,
        "<results>/claims.json",
    output:
        "<results>/report.html",
        # Every claim with a number.
        report(
            "<results>/figures/claims/forest.svg",
            caption="../report/forest.rst",
            category="Claims of the paper",
            labels={"what": "measured over published, of every claim with a number"},
        ),
        multiext("<results>/figures/claims/forest", ".pdf", ".png", ".narrow.svg"),
        report(
            "<results>/tables/forest.csv",
            caption="../report/forest.rst",
            category="Claims of the paper",
            labels={"what": "the numbers of that figure", "format": "csv"},
        ),
        # Of E1's systems together; none where this run measures no ladder.
        [
            report(
                "<results>/figures/equilibrium/overview_poa.svg",
                caption="../report/overview.rst",
                category="All systems",
                labels={"what": "PoA-hat of every system"},
            ),
            report(
                "<results>/tables/summary.csv",
                caption="../report/overview.rst",
                category="All systems",
                labels={"what": "plateau, knee and deepest point of every system"},
            ),
            multiext(
                "<results>/figures/equilibrium/overview_poa",
                ".pdf",
                ".png",
                ".narrow.svg",
            ),
            "<results>/tables/summary.tex",
        ]
        if RUN.has_ladder
        else [],
        # Users in step and not, of every system so measured.
        [
            report(
                "<results>/figures/why/overview_march.svg",
                caption="../report/readings/march.rst",
                category="All systems",
                labels={"what": "PoA-hat of users in step"},
            ),
            multiext(
                "<results>/figures/why/overview_march",
                ".pdf",
                ".png",
                ".narrow.svg",
            ),
        ]
        if RUN.has_readings
        else [],
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    threads: 1
    resources:
        host=1,
    params:
        code=lambda wildcards: RUN.sources.command("report"),
        template=lambda wildcards: RUN.sources.templates,
        published=lambda wildcards: RUN.sources.published,
        environment=lambda wildcards: RUN.sources.environment,
        choices=lambda wildcards: RUN.chosen,
    message:
        "writing the report"
    shell:
        "anarchy report 2>&1 | tee {log}"
