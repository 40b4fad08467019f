"What an executed notebook and a command say."
import json

def outputs(path):
    "The outputs of all cells of an executed notebook, one after the other"
    cells = json.loads(path.read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]

def last_line(done):
    "What a command said last on stderr"
    return done.stderr.strip().splitlines()[-1]
