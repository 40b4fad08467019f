"Leave of each stored widget its picture, and of pictures what the eye needs: python tests/tools/stills.py"
import io, json
from base64 import b64decode, b64encode
from pathlib import Path

ROOT, VIEW = Path(__file__).resolve().parents[2], "application/vnd.jupyter.widget-view+json"

def stored(nb, kind):
    "The stored outputs of a notebook that have data of a kind"
    found = []
    for cell in nb["cells"]: found += [output for output in cell.get("outputs", []) if kind in output.get("data", {})]
    return found

def views(nb):
    "The stored outputs of a notebook that need a kernel to be seen"
    return stored(nb, VIEW)

def still(nb):
    "`nb` without them, and whether there were any; a widget that has no picture leaves nothing"
    found, state = views(nb), nb["metadata"].pop("widgets", None)
    for output in found:
        del output["data"][VIEW]
        if "image/png" not in output["data"]: output["data"] = {}
        else: output["data"]["text/plain"] = ["<an explorer>"]
    for cell in nb["cells"]:
        if "outputs" in cell: cell["outputs"] = [output for output in cell["outputs"] if output.get("data") != {}]
    return bool(found or state)

def smaller(nb, colours=128):
    "Pictures of `nb` with a palette, half the bytes or less, and whether there were others"
    changed = False
    for output in stored(nb, "image/png"):
        from PIL import Image
        old = output["data"]["image/png"]
        old = b64decode(old if isinstance(old, str) else "".join(old))
        picture = Image.open(io.BytesIO(old))
        if picture.mode == "P": continue
        flat = Image.new("RGB", picture.size, "white")
        flat.paste(picture, mask=picture.getchannel("A") if "A" in picture.mode else None)
        file = io.BytesIO()
        flat.quantize(colours, dither=Image.Dither.NONE).save(file, "png", optimize=True)
        if len(file.getvalue()) < len(old):
            output["data"]["image/png"], changed = b64encode(file.getvalue()).decode(), True
    return changed

if __name__ == "__main__":
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        nb = json.loads(path.read_text(encoding="utf-8"))
        if any([still(nb), smaller(nb)]):
            path.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
