# One job = one deployment = its whole ladder of cells.


rule sweep:
    input:
        loads,
        # data/profiles/<table of the model>/{prefill,decode}.csv, for simulated engines
        lambda wildcards: RUN.timing_tables(wildcards),
    output:
        "<results>/raw/{experiment}/{model}/{topology}/{policy_set}/{launch}/deployment.json",
    log:
        "<results>/raw/{experiment}/{model}/{topology}/{policy_set}/{launch}/logs/sweep.log",
    benchmark:
        "<benchmarks>/sweep_{experiment}_{model}_{topology}_{policy_set}_{launch}.tsv"
    threads: lambda wildcards: RUN.sweep_threads(wildcards)
    resources:
        # The whole host, so that nothing runs beside it, or one share of it where the clock is virtual; on a cluster
        # the nodes of its own job.
        **RUN.sweep_resources(workflow),
    params:
        # The only thing that makes a finished deployment be measured again; its cells resume one by one. A function
        # of the wildcards alone: Snakemake compares no parameter that is made from the input.
        plan=lambda wildcards: RUN.plan_hash(wildcards, loads(wildcards)),
    message:
        "measuring {wildcards.model}/{wildcards.topology}/{wildcards.policy_set}, launch {wildcards.launch}"
    shell:
        "anarchy sweep {wildcards.experiment} {wildcards.model} {wildcards.topology}"
        " {wildcards.policy_set} {wildcards.launch} --expect {params.plan} --log {log}"
