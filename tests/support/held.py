"""Runs that are held, killed or broken at an exact place: no test hopes to meet a run in the middle of something.

`HELD` in the environment names the place and what happens there (a `Place` as JSON); `install()` makes it so in this
process and in those that it launches.
"""
import json
import os
import runpy
import select
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil

from forks import run_all

@dataclass
class Place:
    run:str # the run's folder; what happens in others, such as a clean run beside it, does not count
    at:str # 'step 25': in the 25th step of the run; or one of its files, 'checkpoint.pt', 'samples/0003.npz'
    when:str = 'before' # the file moves into its place; 'writing': half of it is on the disk; or 'after'
    nth:int = 1 # of the times that a process comes by
    do:str = 'hold' # until `go`, or until a signal comes; 'kill' this process, 'kill all' of its group; or 'raise'
    rank:int|None = None # in which of several processes; None: in all
    once:bool = False # not in a process that is started again

    @property
    def signs(self): return Path(self.run).parent # where 'reached-<rank>' and 'go' are

    @property
    def env(self)->dict: return dict(HELD=json.dumps(asdict(self)))

    def reached(self, rank=0): return (self.signs/f'reached-{rank}').exists()
    def go(self): (self.signs/'go').touch()

def install():
    "Let what `HELD` says happen in this process and in those that it launches"
    if 'HELD' not in os.environ: return
    place = Place(**json.loads(os.environ['HELD']))
    if place.at.startswith('step '): at_a_step(place)
    else: at_a_file(place)
    in_launched_processes()

def at_a_step(place):
    from noisykit.train.method import known_methods
    number = int(place.at.removeprefix('step '))
    def watched(step):
        def watch(self, batch):
            t = self.trainer
            if t.steps == number - 1 and str(t.run.folder) == place.run: arrive(place)
            return step(self, batch)
        return watch
    for cls in known_methods().values():
        if 'step' in vars(cls): cls.step = watched(cls.step)

def at_a_file(place):
    path, replace, fsync, seen = Path(place.run)/place.at, os.replace, os.fsync, []
    def watched(source, to, **how):
        mine = Path(to) == path
        if mine: seen.append(to)
        here = mine and len(seen) == place.nth
        if here and place.when == 'before': arrive(place)
        replace(source, to, **how)
        if here and place.when == 'after': arrive(place)
    def flushed(file):
        "Called on the file beside `path`, before that moves"
        beside = Path(os.readlink(f'/proc/self/fd/{file}'))
        mine = beside.parent == path.parent and beside.name.startswith(f'.{path.name}.')
        if place.when == 'writing' and mine and len(seen) == place.nth - 1:
            os.truncate(beside, beside.stat().st_size//2)
            arrive(place)
        fsync(file)
    os.replace, os.fsync = watched, flushed

def in_launched_processes():
    import noisykit.run
    launch = noisykit.run.launch
    def launch_held(f, *args, **how): return launch(held, f, *args, **how)
    noisykit.run.launch = launch_held

def held(f, *args):
    "What a launched process runs"
    install()
    return f(*args)

def arrive(place):
    rank = int(os.environ.get('RANK', 0))
    sign = place.signs/f'reached-{rank}'
    if place.rank not in (None, rank) or (place.once and sign.exists()): return
    sign.touch()
    if place.do == 'raise': raise RuntimeError('a bit flipped')
    if place.do == 'kill': os.kill(os.getpid(), signal.SIGKILL)
    if place.do == 'kill all': os.killpg(os.getpgrp(), signal.SIGKILL)
    wait(place)

def wait(place):
    "Until `go`, or until this process has been sent a signal that it listens to"
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    try:
        while not (place.signs/'go').exists():
            if select.select([heard], [], [], .02)[0]: break
    finally:
        signal.set_wakeup_fd(before)
        os.close(heard)
        os.close(tell)

def forked(settings, place=None, nproc=1)->list: # exit codes, -9 of one that was killed
    "Run to the end, or to its death, in processes as torchrun starts them; a list of settings is so many runs"
    runs = settings if isinstance(settings, list) else [settings]
    with tempfile.TemporaryDirectory() as folder:
        return run_all(run_as, [(runs, place, rank, nproc, folder) for rank in range(nproc)])

def run_as(runs, place, rank, nproc, folder):
    "What a process of `forked` does; all are in one group, so that 'kill all' ends them and no other"
    join_group(Path(folder)/'group', rank)
    os.environ |= dict(RANK=str(rank), WORLD_SIZE=str(nproc)) | (place.env if place else {})
    import torch
    from noisykit.processes import joined
    from noisykit.run import run_method
    torch.set_num_threads(1)
    meet = dict(init_method=f'file://{folder}/store', rank=rank, world_size=nproc) # in a file: no port that is taken
    torch.distributed.init_process_group = partial(torch.distributed.init_process_group, **meet)
    install()
    with joined():
        for settings in runs: run_method(quiet=True, nproc=nproc, **settings)

def join_group(file, rank):
    if rank == 0:
        os.setpgid(0, 0)
        file.with_suffix('.new').write_text(str(os.getpid()))
        file.with_suffix('.new').rename(file)
    else:
        while not file.exists(): time.sleep(.01)
        os.setpgid(0, int(file.read_text()))

def kernels(folder)->dict: # environment
    "In which papermill's kernels, a sweep's trials too, do what `HELD` says; `folder` gets a profile of IPython"
    startup = Path(folder)/'profile_default/startup'
    startup.mkdir(parents=True)
    here = str(Path(__file__).parent)
    (startup/'held.py').write_text(f'import sys\nsys.path.insert(0, {here!r})\nimport held\nheld.install()\n')
    return dict(IPYTHONDIR=str(folder))

PATIENCE = 900 # seconds for what is certain to come, on whatever machine

def until(condition, process, what, seconds=PATIENCE):
    "Wait for what will come, unless the process ends before"
    end = time.time() + seconds
    while not condition():
        assert process.poll() is None, f"the run ended before {what}"
        assert time.time() < end, f"no {what} in {seconds} s"
        time.sleep(.02)

def family(process):
    "A process and all that it started"
    return [process, *psutil.Process(process.pid).children(recursive=True)]

def kill(process):
    "With all that it started; a kernel is in a session of its own"
    members = family(process)
    for member in members:
        try: member.kill()
        except psutil.NoSuchProcess: pass
    process.wait(PATIENCE)
    assert not psutil.wait_procs(members[1:], timeout=PATIENCE)[1], "processes are left"

def command(file, place=None):
    "What `python -m noisykit file` does, up to a place"
    if place: os.environ |= place.env
    import torch
    torch.set_num_threads(1)
    install()
    sys.argv = ['noisykit', str(file)]
    runpy.run_module('noisykit', run_name='__main__', alter_sys=True)
