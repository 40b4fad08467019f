"""Whatever lies in a folder is used or named, and what is wrong with it is a sentence."""
import os
from pathlib import Path

from hypothesis import example

from noisykit.audit.look import look_for_images
from noisykit.data.scan import find_parts, image_endings, is_hidden, scan_parts
from refusals import unless_refused
from strategies import folders, fuzz, make_folder, new_folder

def below(root):
    "Path of each file and link in a folder that is not hidden, and of each link"
    found = []
    for place, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not is_hidden(name)]
        links = [name for name in inner if os.path.islink(os.path.join(place, name))]
        found += [os.path.join(place, name) for name in [*files, *links] if not is_hidden(name)]
    return found

def is_named(path, root, named):
    "Whether a path, or a folder in which it lies, is among the names"
    parts = Path(os.path.relpath(path, root)).parts
    return any(os.path.join(*parts[:depth]) in named for depth in range(1, len(parts) + 1))

@fuzz(250, entries=folders())
@example([("a/1.png", b"x"), ("b/2.png", b"x"), ("a/c\rd/3.png", b"x")]) # no csv could hold the inner folder's name
def test_any_folder(entries):
    "Each file is used once or named, and the block is a line for each thing that it says"
    with new_folder() as root:
        make_folder(root, entries)
        found = unless_refused(scan_parts, Path(root), image_endings())
        alike = None if find_parts(Path(root)) else unless_refused(look_for_images, root)
        if found is None:
            assert alike is None
            return
        used = [path for files in (found.files, *found.tests.values()) for paths in files.values() for path in paths]
        named = {name.rstrip("/") for name, _ in found.left_out}
        assert len(set(used)) == len(used) and all(map(os.path.isfile, used))
        assert not {os.path.relpath(path, root) for path in used} & named
        followed = {os.path.dirname(path) for path in used}
        for path in below(root):
            if path not in used and not is_named(path, root, named):
                assert os.path.isdir(path) and any(folder.startswith(path) for folder in followed), path
        lines = found.report().encode().decode().splitlines()
        reasons = {why for _, why in found.left_out}
        assert len(lines) == 2 + len(found.tests) + len(reasons) + bool(found.hidden) + len(found.questions)
        if alike is not None: assert list(alike[0].path) == used and alike[1] == found.report()
