"""Kubernetes objects as plain data, computed by pure functions; `cluster` sends them, `render` prints them.

    spec        what is wanted: a run and its classes of pods
    objects     config maps, secrets, services, and the metadata that all of ours carry
    pods        pod templates: security, volumes, resources, probes
    workloads   the run server, agent Jobs, probe pods, and the paper's Deployments
    platform    accounts, rights, disruption budget, network policy
    storage     `--storage`: claims, volumes and classes
    render      a folder for `kubectl apply --server-side -k`

Python >= 3.9 and the standard library only: the run server in a pod makes its Jobs with it.
"""
