"""papermill's command line in a process that has all imported when it begins, and that executes the cells itself
instead of starting a kernel: the same notebook, parameters, output and exit code in a fraction of the time."""
import os
import subprocess
import sys
import tempfile
import traceback
from multiprocessing import get_context
from pathlib import Path

import nbformat

from forks import run_all

def papermill(words, cwd)->subprocess.CompletedProcess: # returncode, stdout, stderr
    "Run `python -m papermill ...`, a list of words, in the folder `cwd`"
    assert words[:3] == [sys.executable, '-m', 'papermill'], words
    return in_a_process(execute, words[3:], cwd)

def noisykit(words, cwd)->subprocess.CompletedProcess:
    "Run `noisykit ...` in the folder `cwd`"
    return in_a_process(command, words, cwd)

def in_a_process(target, words, cwd):
    with tempfile.TemporaryDirectory() as folder:
        code, = run_all(target, [(words, str(cwd), folder)])
        said = {name: (Path(folder)/name).read_text() for name in ('stdout', 'stderr')}
    return subprocess.CompletedProcess(words, code, **said)

def command(words, cwd, folder):
    prepare(cwd, folder)
    from noisykit.command import main
    main(words)

def prepare(cwd, folder):
    "What is said goes to files; papermill executes cells in forks"
    for number, name in ((1, 'stdout'), (2, 'stderr')):
        os.dup2(os.open(f'{folder}/{name}', os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    import torch
    from papermill.engines import papermill_engines
    torch.set_num_threads(1)
    warm, elsewhere = engines()
    papermill_engines.register('warm', warm)
    papermill_engines.register(None, elsewhere) # what papermill takes if none is named, as in a sweep

def execute(words, cwd, folder):
    prepare(cwd, folder)
    from papermill.cli import papermill as command
    try: command([*words, '--engine', 'warm'], standalone_mode=False)
    except Exception:
        traceback.print_exc()
        sys.exit(1)

def engines():
    "(one that executes cells here, one that does so in a fork)"
    from papermill.engines import Engine
    class Warm(Engine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **_):
            run = shell()
            for index, cell in enumerate(nb_man.nb.cells):
                nb_man.cell_start(cell, index)
                failed = run(cell) if cell.cell_type == 'code' else None
                if failed: nb_man.cell_exception(cell, cell_index=index, exception=failed)
                nb_man.cell_complete(cell, cell_index=index)
                if failed: break
    class Elsewhere(Engine):
        "A notebook that a cell has papermill execute"
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **_):
            with tempfile.TemporaryDirectory() as folder:
                given, done = (Path(folder)/name for name in ('given.ipynb', 'done.ipynb'))
                nbformat.write(nb_man.nb, given)
                process = get_context('fork').Process(target=in_a_fork, args=(given, done))
                process.start()
                process.join()
                nb_man.nb = nbformat.read(done, 4)
                # without the words that papermill puts above a cell that failed: it does so here once more
                nb_man.nb.cells = [cell for cell in nb_man.nb.cells if 'papermill' in cell.metadata]
    return Warm, Elsewhere

def in_a_fork(given, done):
    from papermill import PapermillExecutionError, execute_notebook
    try: execute_notebook(str(given), str(done), engine_name='warm', progress_bar=False)
    except PapermillExecutionError: pass # it is in the notebook

def shell():
    "A function that executes a cell of code in a shell of its own, fills its outputs, and returns an exception or None"
    from execnb.shell import CaptureShell
    from nbformat import from_dict
    class Shell(CaptureShell):
        def _showtraceback(self, kind, error, lines):
            "As a kernel does it: what the error itself wants to be shown counts"
            self.error = dict(output_type='error', ename=kind.__name__, evalue=str(error), traceback=list(lines))
        def run_cell(self, code, *_, **how): return super().run_cell(code, store_history=True, **how)
    one = Shell(mpl_format='png')
    def run(cell):
        one.error = None
        outputs = [o for o in one.run(cell.source) if o['output_type'] != 'error']
        cell.outputs = [from_dict(o) for o in [*outputs, *([one.error] if one.error else [])]]
        cell.execution_count = one.execution_count - 1
        return one.exc
    return run
