# One job = one deployment = its whole ladder of cells.


rule sweep:
    input:
        loads,
        lambda wildcards: RUN.timing_tables(wildcards.model),
    output:
        RUN.layout.summary(*DEPLOYMENT),
    log:
        RUN.layout.sweep_log(*DEPLOYMENT),
    threads: 2
    resources:
        **RUN.sweep_resources,
    params:
        # The only thing that makes a finished deployment be measured again; its cells resume one by one. A function
        # of the wildcards alone: Snakemake compares no parameter that is made from the input.
        plan=lambda wildcards: RUN.plan_hash(wildcards, loads(wildcards)),
    message:
        "measuring {wildcards.model}/{wildcards.topology}/{wildcards.routing}, launch {wildcards.trial}"
    shell:
        # exec: the sweep becomes Snakemake's own child, so it notices when Snakemake dies.
        "exec {RUN.anarchy} sweep {wildcards.experiment} {wildcards.model} {wildcards.topology}"
        " {wildcards.routing} {wildcards.trial} {RUN.arguments} --expect {params.plan} --log {log}"
