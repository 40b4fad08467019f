"""Kinds of picture files, what they decode to, and what is said: the section Pictures of wild.TABLE.

Files that Pillow cannot write are put together here byte by byte."""
import io
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

@dataclass
class Kind:
    "A kind of picture file"
    what: str # for the page
    becomes: str # of it, for the page
    says: str = "" # the note, or the error that names the file; a part of it
    files: dict = field(default_factory=dict) # name -> (content, pixels [H, W] or [H, W, 3]; None where refused)
    tolerance: int = 1 # grey levels

# ---- files, byte by byte

def png(rows, bits, colour, *chunks):
    "rows: the bytes of each; colour: 0 grey, 2 RGB, 4 grey with alpha; chunks: (name, content)"
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    head = struct.pack(">IIBBBBB", SIDE, len(rows), bits, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *(chunk(*more) for more in chunks)]
    parts += [chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

def png16(values, colour=0, *chunks): return png([row.astype(">u2").tobytes() for row in values], 16, colour, *chunks)

def packed(values, bits):
    "The bytes of each row"
    ones = (values[..., None] >> np.arange(bits)[::-1]) & 1
    return [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in ones]

FORMATS = dict(u=1, i=2, f=3) # numpy's kind -> TIFF's

def tiff(values, photometric=1, bits=None, extra=None, content=None):
    "values [H, W] or [H, W, samples]; photometric: 0 white is 0, 1 black is 0, 2 RGB; extra 1: times opacity"
    order = ">" if values.dtype.byteorder == ">" else "<"
    samples = values.shape[2] if values.ndim == 3 else 1
    content = values.tobytes() if content is None else content
    bits, kind = bits or 8*values.itemsize, FORMATS[values.dtype.kind]
    tags = {256: [SIDE], 257: [len(values)], 258: [bits]*samples, 259: [1], 262: [photometric], 273: [0],
            277: [samples], 278: [len(values)], 279: [len(content)], 338: [extra], 339: [kind]*samples}
    if extra is None: del tags[338]
    start = 14 + 12*len(tags) # where long lists begin; then the pixels
    lists = {tag: numbers for tag, numbers in tags.items() if len(numbers) > 2}
    tags[273] = [start + sum(2*len(numbers) for numbers in lists.values())]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    after = b""
    for tag, numbers in tags.items():
        packed_numbers = struct.pack(f"{order}{len(numbers)}H", *numbers)
        if tag in lists: after, packed_numbers = after + packed_numbers, struct.pack(f"{order}I", start + len(after))
        head += struct.pack(f"{order}HHI", tag, 3, len(numbers)) + packed_numbers.ljust(4, b"\0")
    return head + bytes(4) + after + content

def saved(picture, kind, **how):
    picture.save(file := io.BytesIO(), kind, **how)
    return file.getvalue()

# ---- what they show

SIDE = 16
RAMP = np.arange(256, dtype=np.uint8).reshape(SIDE, SIDE)
RAMP16 = RAMP.astype(np.uint16)*257
COLOURS = np.dstack([RAMP, 255 - RAMP, np.full_like(RAMP, 90)])
PICTURE = Image.fromarray(COLOURS)
MARKED = Image.fromarray(np.where(RAMP < 128, 255 - RAMP, RAMP // 4)).resize((24, 16)) # no turn of it is the same

def grey_alpha(value): return np.dstack([np.full_like(RAMP, value), RAMP])

def in_alpha(value):
    "A drawing of one colour whose shape is in the alpha channel alone"
    return Image.fromarray(np.dstack([np.full_like(RAMP, value)]*3 + [RAMP]))

def palette():
    picture = Image.fromarray(RAMP//64)
    picture.putpalette([0, 0, 0, 80, 80, 80, 160, 160, 160, 240, 240, 240])
    return picture

def without(value, of): return np.where(of == value, 255, of)

STEPS = np.array([0, 80, 160, 240])[RAMP//64]
T = Image.Transpose
UNDO = {2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE, 6: T.ROTATE_90, 7: T.TRANSVERSE,
        8: T.ROTATE_270} # EXIF's number -> how its sensor saw the picture

def turned(number, kind, mode="RGB", **how):
    "(the file of a camera that was held so, what is to be seen)"
    exif = Image.Exif()
    exif[0x0112] = number
    seen = MARKED.convert(mode)
    stored = seen.transpose(UNDO[number]) if number in UNDO else seen
    return saved(stored, kind, exif=exif, **how), np.asarray(seen.convert("RGB"))

def broken_exif(content): return saved(PICTURE, "PNG", exif=content), COLOURS

FULL = dict(quality=100, subsampling="4:4:4")
TURNED = {"6.webp": turned(6, "WEBP", lossless=True), "5.avif": turned(5, "AVIF", **FULL)}
for number in range(1, 9):
    TURNED |= {f"{number}.jpg": turned(number, "JPEG", **FULL), f"{number}.png": turned(number, "PNG"),
               f"{number}.tif": turned(number, "TIFF"), f"grey {number}.tif": turned(number, "TIFF", "L")}

FRAMES = dict(save_all=True, append_images=[Image.fromarray(255 - COLOURS)])
JPEG = saved(PICTURE.resize((200, 200)), "JPEG")
FLOATS = (RAMP/255).astype("<f4")
WITHOUT_NUMBER = np.where(RAMP < 2, np.nan, FLOATS).astype("<f4")
BILEVEL = (RAMP > 99)*np.uint8(255)

def key(*values): return b"tRNS", struct.pack(f">{len(values)}H", *values)

KINDS = [
    Kind("16 bits of grey: PNG, TIFF in both byte orders, PGM, JPEG 2000", "divided by 65,535", "", {
        "a.png": (png16(RAMP16), RAMP), "b.tif": (tiff(RAMP16.astype("<u2")), RAMP),
        "c.tif": (tiff(RAMP16.astype(">u2")), RAMP), "d.jp2": (saved(Image.fromarray(RAMP16), "JPEG2000"), RAMP),
        "e.pgm": (b"P5 16 16 65535\n" + RAMP16.astype(">u2").tobytes(), RAMP)}),
    Kind("8, 12 or 14 bits in a file of 16", 
         "the smallest of 255, 4,095 and 16,383 that holds the largest value is white",
         "values from 0 to 4,080: 4,095 was taken for white", {
             "12.tif": (tiff(RAMP.astype("<u2")*16), RAMP), "12.png": (png16(RAMP.astype("<u2")*16), RAMP),
             "12b.tif": (tiff(RAMP.astype(">u2")*16), RAMP)}),
    Kind("12 bits where the format says so: a packed TIFF, a PGM", "divided by 4,095", "", {
        "a.tif": (tiff(RAMP, bits=12, content=b"".join(packed(RAMP.astype(int)*4095//255, 12))), RAMP),
        "b.pgm": (b"P5 16 16 4095\n" + (RAMP.astype(int)*4095//255).astype(">u2").tobytes(), RAMP)}),
    Kind("32 bits, or floats: TIFF, PFM", "the smallest of 1, 255, 4,095, 16,383 and 65,535 that holds them is white",
         "was taken for white", {
             "a.tif": (tiff(FLOATS), RAMP), "b.tif": (tiff(FLOATS.astype(">f4")), RAMP),
             "c.tif": (tiff(RAMP.astype("<u4")), RAMP), "d.tif": (tiff(RAMP.astype("<i4")*16), RAMP),
             "e.pfm": (b"Pf\n16 16\n-1.0\n" + FLOATS[::-1].tobytes(), RAMP)}),
    Kind("values below 0 or above 65,535", "stretched: the lowest is black, the highest white",
         "stretched from black to white", {
             "a.tif": (tiff(RAMP.astype("<i2")*16 - 1000), RAMP), "b.tif": (tiff(RAMP.astype("<u4")*2**24), RAMP),
             "c.tif": (tiff(RAMP.view(np.int8) ^ np.int8(-128)), RAMP), "d.tif": (tiff(FLOATS*1e6), RAMP)}),
    Kind("floats that are no numbers (NaN)", "as dark as the lowest", "some values are no numbers", {
        "a.tif": (tiff(WITHOUT_NUMBER), np.maximum(RAMP, 2))}),
    Kind("16 bits of each colour: PNG, TIFF", "the upper 8 bits", "", {
        "a.png": (png16(np.repeat(RAMP16, 3, 1), 2), RAMP), "c.tif": (tiff(RAMP16[..., None].repeat(3, 2), 2), RAMP),
        "b.png": (png16(np.stack([RAMP16, RAMP16 | 65535], 2).reshape(SIDE, -1), 4), RAMP)}),
    Kind("12 or 14 bits in such a file", "brightened; only 16 or 64 steps are left, because Pillow keeps 8 of 16 bits",
         "16 bits, but no value above 4,095: few steps are left", {
             "a.png": (png16(np.repeat(RAMP.astype(">u2")*16, 3, 1), 2), RAMP//16*17),
             "b.tif": (tiff(RAMP.astype("<u2")[..., None].repeat(3, 2)*16, 2), RAMP//16*17)}),
    Kind("a TIFF in which 0 is white", "as it is meant", "", {
        "a.tif": (tiff(RAMP, 0), 255 - RAMP), "b.tif": (tiff(RAMP16.astype("<u2"), 0), 255 - RAMP)}),
    Kind("1, 2 or 4 bits: PNG, TIFF, BMP, fax", "from black to white", "", {
        "a.png": (saved(Image.fromarray(BILEVEL > 0), "PNG"), BILEVEL),
        "b.tif": (saved(Image.fromarray(BILEVEL > 0), "TIFF", compression="group4"), BILEVEL),
        "c.bmp": (saved(Image.fromarray(BILEVEL > 0), "BMP"), BILEVEL),
        "d.png": (png(packed(RAMP % 4, 2), 2, 0), RAMP % 4*85),
        "e.png": (png(packed(RAMP % 16, 4), 4, 0), RAMP % 16*17)}),
    Kind("a dark drawing with transparency, even if its shape is in the alpha channel alone", "on white", "", {
        "a.png": (saved(in_alpha(0), "PNG"), 255 - RAMP),
        "b.webp": (saved(in_alpha(0), "WEBP", lossless=True, exact=True), 255 - RAMP),
        "c.png": (saved(in_alpha(0).convert("LA"), "PNG"), 255 - RAMP),
        "d.tif": (saved(in_alpha(0).convert("PA"), "TIFF"), 255 - RAMP),
        "e.ico": (saved(in_alpha(0), "ICO"), 255 - RAMP),
        "f.tif": (tiff(np.dstack([RAMP*0]*3 + [RAMP]), 2, extra=1), 255 - RAMP)}),
    Kind("a drawing with transparency whose mean colour is nearly white", "on black", "", {
        "a.png": (saved(in_alpha(255), "PNG"), RAMP), "b.webp": (saved(in_alpha(255), "WEBP", lossless=True), RAMP),
        "c.tif": (tiff(np.dstack([RAMP, RAMP]), extra=1), RAMP), "d.tga": (saved(in_alpha(255), "TGA"), RAMP)}),
    Kind("a palette with transparent colours, or one transparent colour of grey or RGB", "the same", "", {
        "a.png": (saved(palette(), "PNG", transparency=bytes([0, 255, 255, 255])), without(0, STEPS)),
        "b.png": (saved(palette(), "PNG", transparency=1), without(80, STEPS)),
        "c.gif": (saved(palette(), "GIF", transparency=0), without(0, STEPS)),
        "d.png": (saved(Image.fromarray(RAMP), "PNG", transparency=7), without(7, RAMP)),
        "e.png": (saved(PICTURE, "PNG", transparency=(9, 246, 90)), np.where(RAMP[..., None] == 9, 255, COLOURS)),
        "f.png": (png16(RAMP16, 0, key(7*257)), without(7, RAMP)),
        "g.png": (png16(np.repeat(RAMP16, 3, 1), 2, key(*[7*257]*3)), without(7, RAMP)),
        "h.png": (png(packed(RAMP % 4, 2), 2, 0, key(1)), without(85, RAMP % 4*85))}),
    Kind("a picture of which everything is transparent", "white", "all transparent", {
        "a.png": (saved(Image.new("RGBA", (SIDE, SIDE), (200, 0, 0, 0)), "PNG"), RAMP*0 + 255)}),
    Kind("a photograph that EXIF says to turn or mirror (8 ways): JPEG, PNG, WebP, AVIF, TIFF",
         "turned, for networks too", "", TURNED, 4),
    Kind("EXIF data that cannot be read", "as stored", "turn unknown", {
        "a.png": broken_exif(b"Exif\0\0MM\0*\0\0\0\x08"), "b.png": broken_exif(bytes(range(60))),
        "c.jpg": (saved(PICTURE, "JPEG", **FULL, exif=b"Exif\0\0" + bytes(range(60))), COLOURS)},
         5),
    Kind("CMYK: a JPEG as Adobe writes it, TIFF", "by the simple formula; colour profiles do not count", "", {
        "a.jpg": (saved(PICTURE.convert("CMYK"), "JPEG", **FULL), COLOURS),
        "b.tif": (saved(PICTURE.convert("CMYK"), "TIFF"), COLOURS)}, 5),
    Kind("YCbCr, LAB", "converted", "", {
        "a.tif": (saved(PICTURE.convert("YCbCr"), "TIFF"), COLOURS),
        "b.tif": (saved(PICTURE.convert("LAB"), "TIFF"), np.asarray(PICTURE.convert("LAB").convert("RGB")))}, 4),
    Kind("an animation, or pages: GIF, WebP, PNG, AVIF, TIFF", "the first picture", "several pictures", {
        "a.png": (saved(PICTURE, "PNG", **FRAMES), COLOURS), "b.tif": (saved(PICTURE, "TIFF", **FRAMES), COLOURS),
        "c.gif": (saved(Image.fromarray(BILEVEL), "GIF", save_all=True, append_images=[PICTURE]), BILEVEL),
        "d.webp": (saved(PICTURE, "WEBP", lossless=True, **FRAMES), COLOURS)}),
    Kind("a photograph with previews (MPO)", "the photograph", "", {
        "a.jpg": (saved(PICTURE, "MPO", **FULL, **FRAMES), COLOURS)}, 5),
    Kind("a file that is cut off", "refused or left out: no part of it is used", "it is cut off", {
        "a.jpg": (JPEG[:-400], None), "b.png": (saved(PICTURE, "PNG")[:-40], None),
        "c.tif": (saved(PICTURE, "TIFF")[:-99], None), "d.jpg": (JPEG[:900] + bytes(len(JPEG) - 900), None)}),
    Kind("zeros behind the end of a JPEG", "the JPEG", "", {
        "a.jpg": (saved(PICTURE, "JPEG", **FULL) + bytes(2000), COLOURS)}, 5),
    Kind("an empty file", "refused or left out", "it is empty", {"a.png": (b"", None)}),
    Kind("a file that is no picture, or of a kind that Pillow does not read, such as floats of 64 bits",
         "refused or left out", "it is no picture, or of a kind that Pillow does not read", {
             "a.png": (b"no picture", None), "b.tif": (tiff(FLOATS.astype("<f8")), None)}),
    Kind("more than 175 million pixels", "refused or left out, before it is decoded",
         "it has over 175,000,000 pixels: make it smaller", {
             "a.pgm": (b"P5 13300 13300 255\n", None), "b.pgm": (b"P5 60000 60000 255\n", None)}),
]
