"""Runs on a cluster, from the user's machine: preflight, deploy, send, follow, collect, remove.

wishes     what the user asked of the cluster, parsed
preflight  what would fail is told before anything is made
line       HTTP to the run server through the API server's proxy
runs       the runs of a namespace, and what this machine remembers of those it started
drive      one run from beginning to end
"""
