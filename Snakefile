# The graph of a study, from the table of steps in h2a_lib/pipeline/steps.py; `h2a report` runs it.
#
# Snakemake orders the steps, runs them side by side and sends them to a cluster. What must run is
# not its decision: a step that is up to date has a marker, and the others have none
# (h2a_lib/pipeline/staleness.py).
import atexit
import json
import os
import sys
from contextlib import ExitStack

from h2a_lib.pipeline import forkserver
from h2a_lib.pipeline.graph import marker_of
from h2a_lib.pipeline.processes import end_with_leader
from h2a_lib.pipeline.steps import Steps
from h2a_lib.study.workspace import locate

end_with_leader()

# On a cluster's node the steps of a job share what is imported; on this machine `h2a` sees to it.
if workflow.remote_exec and forkserver.ADDRESS not in os.environ:
    shared = ExitStack()
    atexit.register(shared.close)
    os.environ.update(shared.enter_context(forkserver.server()))

request = config["request"]
steps = Steps(locate(request["profile"], request["data"]), request["renderer"])
# A rule for each kind of step: cluster/ gives memory and time to each kind.
PATTERNS = {"train": "train/{experiment}/seed-{seed}", "cache": "cache/{images}"}
RULES = {step.rule: PATTERNS.get(step.rule, step.rule) for step in steps.by_name.values()}


def step_of(pattern, wildcards):
    return steps.by_name[pattern.format(**dict(wildcards.items()))]


def markers_before(step):
    return [marker_of(steps.study, name) for name in step.needs if name in steps.by_name]


wildcard_constraints:
    experiment="[^/]+",
    images="[^/]+",
    seed="[0-9]+",


rule all:
    input:
        marker_of(steps.study, "deck"),


for kind, pattern in RULES.items():

    rule:
        name:
            kind
        input:
            lambda wildcards, pattern=pattern: markers_before(step_of(pattern, wildcards)),
        output:
            touch(marker_of(steps.study, pattern)),
        params:
            # Functions: a brace in a path would be taken for a wildcard.
            python=lambda _: sys.executable,
            request=lambda _: json.dumps(request),
            step=lambda wildcards, pattern=pattern: step_of(pattern, wildcards).name,
        threads: lambda wildcards, pattern=pattern: step_of(pattern, wildcards).threads or workflow.cores
        priority: lambda wildcards, pattern=pattern: step_of(pattern, wildcards).priority
        resources:
            gpu=lambda wildcards, pattern=pattern: step_of(pattern, wildcards).gpus,
        shell:
            "{params.python:q} -m h2a_lib.pipeline.forkserver h2a_lib.pipeline.perform "
            "{params.request:q} {params.step:q}"
