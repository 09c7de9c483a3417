"""The agent as a process of its own: it joins a run server, takes tasks, and gives back what they made.

    agent      joins, listens, beats, reports; one task after the other
    tasks      the main line and steps, as such an agent runs them
    hands      the main line's hands: steps go to the server
    workspace  the project folder of this pod, filled from the store
    __main__   the process

Python >= 3.9 and the standard library only: a pod carries it.
"""
