"""Processes that have all imported when they begin: forks of one server, which pytest's process starts when it first
needs one. What they are given must be importable."""
import os
from multiprocessing import get_context

# of held.py and of warm.py, which are called in the processes, and what they call
IMPORTED = ['held', 'warm', 'execnb.shell', 'papermill.cli', 'matplotlib.pyplot', 'pandas', 'sklearn.metrics',
            'noisykit.run', 'noisykit.command', 'noisykit.evaluation', 'noisykit.pictures', 'noisykit.sweep']

def started(target, *args):
    "A process that calls target(*args)"
    context = get_context('forkserver')
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=target, args=args)
    process.start()
    return process

def run_all(target, arguments)->list: # exit codes, -9 of one that was killed
    "Call `target` with each tuple of `arguments`, in a process for each, to the end"
    processes = [started(target, *args) for args in arguments]
    for process in processes: process.join()
    return [process.exitcode for process in processes]

class Command:
    "A call in a process and a session of its own, which may be killed; what it and its children say is in a file"
    def __init__(self, said, # a path
                 target, *args):
        self.said, self.process = said, started(_speaking, said, target, *args)
        self.pid = self.process.pid

    def poll(self): return self.process.exitcode # None while it runs

    def wait(self, seconds)->int: # exit code
        self.process.join(seconds)
        assert self.poll() is not None, f"not at its end after {seconds} s: {self.said.read_text()[-2000:]}"
        return self.poll()

def _speaking(said, target, *args):
    os.setsid()
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2): os.dup2(file, number)
    target(*args)
