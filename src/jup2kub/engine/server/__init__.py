"""The run server: one for each run. It holds the fold, serves the store, and tells agents what to do.

    web       HTTP: who may ask, what is asked, answers; threads
    storeapi  the methods of the store, and blobs in pieces
    desk      the fold of one run with its mailboxes, log and status
    capacity  what further agents the ready work could use (pure), and the contract of those who start them
    __main__  the process

Python >= 3.9 and the standard library only: a pod carries it.
"""
