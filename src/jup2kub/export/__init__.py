"""The same plan for other workflow systems: Argo Workflows, Kubeflow Pipelines v2, Pegasus (pure).

Those run a graph from its sources to its sink, each task in a pod of its own. Our main line is no such task: steps leave
it and come back to it while it runs. So the plan is cut (`cut.parts`): each step that could be done by anybody is a task
which runs the step's cells and what they depend on, and keeps their results in a store on a shared folder; the last task
runs the notebook from its first cell to its last, in order, and finds there what has been made. Whatever the tasks before
it did or failed to do, the last one gives the notebook's answer: a result is taken by its memo key only.
"""
