"""Processes that have all imported when they begin: forks of one server, which pytest's process starts when it first
needs one. What they are given must be importable."""
from multiprocessing import get_context

# of held.py and of warm.py, which are called in the processes, and what they call
IMPORTED = ['held', 'warm', 'execnb.shell', 'papermill.cli', 'matplotlib.pyplot', 'pandas', 'sklearn.metrics',
            'noisykit.run', 'noisykit.evaluation', 'noisykit.pictures', 'noisykit.sweep']

def context():
    "multiprocessing's, with `Process`"
    found = get_context('forkserver')
    found.set_forkserver_preload(IMPORTED)
    return found

def run_all(target, arguments)->list: # exit codes, -9 of one that was killed
    "Call `target` with each tuple of `arguments`, in a process for each, to the end"
    processes = [context().Process(target=target, args=args) for args in arguments]
    for process in processes: process.start()
    for process in processes: process.join()
    return [process.exitcode for process in processes]
