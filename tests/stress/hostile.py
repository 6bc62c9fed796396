"""Files that nobody should have to read, each made when it is wanted: by name, a function that puts it at a path.

What has no place in a repository: bombs, planted code, pipes, and whatever is cut off, mislabelled or out of range.
"""

import gzip
import io
import json
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

Maker = Callable[[Path], object]

RAMP = np.arange(784, dtype=np.uint8).reshape(28, 28)
FLOATS = np.linspace(0, 1, 4 * 784, dtype=np.float32).reshape(4, 28, 28, 1)
HUGE = 60_000


class Planted:
    """What would make a file `pwned` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def _bytes(content: bytes) -> Maker:
    return lambda path: path.write_bytes(content)


def _picture(mode: str = "L", form: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RAMP).convert(mode).save(buffer, form, **how)
    return buffer.getvalue()


def _of(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


def _png(width: int, height: int, depth: int = 8, kind: int = 0, data: bytes = b"") -> bytes:
    """A PNG that says what it is given, whatever it holds."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def _exif(orientation: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _animated(form: str) -> bytes:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    return _of(frames[0], form, save_all=True, append_images=frames[1:])


def _locked(path: Path) -> None:
    path.write_bytes(_PICTURE)
    path.chmod(0)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


_PICTURE = _picture()
_BROKEN_EXIF = (
    _picture(form="JPEG", exif=_exif(6)).replace(b"MM\x00*", b"MM\xff\xff").replace(b"II*\x00", b"II\xff\xff")
)

IMAGES: dict[str, Maker] = {
    "whole.png": _bytes(_PICTURE),
    **{f"cut-{part}.png": _bytes(_PICTURE[:part]) for part in (0, 1, 8, 20, 40, len(_PICTURE) // 2, len(_PICTURE) - 9)},
    "cut.jpg": _bytes(_picture(form="JPEG")[:300]),
    "cut.tif": _bytes(_picture(form="TIFF")[:500]),
    "cut.webp": _bytes(_picture(form="WEBP")[:60]),
    "cut.gif": _bytes(_picture(form="GIF")[:100]),
    "flipped.png": _bytes(_PICTURE[:60] + bytes([_PICTURE[60] ^ 255]) + _PICTURE[61:]),
    "bomb.png": _bytes(_png(HUGE, HUGE, data=bytes(1000))),
    "large.png": _bytes(_png(6_000, 6_000, 1, data=bytes(6_000 * (6_000 // 8 + 1)))),
    "wide.png": _bytes(_png(2**31 - 1, 1)),
    "bomb.ppm": _bytes(b"P6 99999 99999 255\n" + bytes(100)),
    "negative.bmp": _bytes(
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, -28, -28, 1, 24, 0, 0, 1, 1, 0, 0)
    ),
    "none.png": _bytes(_png(0, 0)),
    "no-width.png": _bytes(_png(0, 28)),
    "none.gif": _bytes(b"GIF89a" + bytes(7)),
    "one.png": _bytes(_of(Image.new("L", (1, 1)))),
    "thin.png": _bytes(_of(Image.new("L", (1, 3000)))),
    "jpeg.png": _bytes(_picture(form="JPEG")),
    "png.jpg": _bytes(_PICTURE),
    "webp.bmp": _bytes(_picture(form="WEBP")),
    "cmyk.jpg": _bytes(_picture("CMYK", "JPEG")),
    "lab.tif": _bytes(_of(Image.new("LAB", (28, 28), (200, 30, 90)), "TIFF")),
    "hsv.tif": _bytes(_of(Image.new("YCbCr", (28, 28)), "TIFF")),
    "deep.png": _bytes(_of(Image.fromarray(RAMP.astype(np.uint16) * 257))),
    "deep.tif": _bytes(_of(Image.fromarray(RAMP.astype(np.int32) * 10**6), "TIFF")),
    "negative.tif": _bytes(_of(Image.fromarray(-RAMP.astype(np.int32)), "TIFF")),
    "float.tif": _bytes(_of(Image.fromarray(RAMP.astype(np.float32)), "TIFF")),
    "nan.tif": _bytes(_of(Image.fromarray(np.full((28, 28), np.nan, np.float32)), "TIFF")),
    "palette.png": _bytes(_picture("P")),
    "bits.png": _bytes(_picture("1")),
    "clear.png": _bytes(_of(Image.new("RGBA", (28, 28), (9, 9, 9, 0)))),
    "clear-palette.png": _bytes(_picture("P", transparency=3)),
    "animated.gif": _bytes(_animated("GIF")),
    "animated.webp": _bytes(_animated("WEBP")),
    "pages.tif": _bytes(_animated("TIFF")),
    **{f"turned-{turn}.jpg": _bytes(_picture(form="JPEG", exif=_exif(turn))) for turn in (0, 1, 6, 8, 9, 60_000)},
    "exif-broken.jpg": _bytes(_BROKEN_EXIF),
    "exif-noise.jpg": _bytes(_picture(form="JPEG", exif=b"Exif\x00\x00" + bytes(range(256)))),
    "profile.png": _bytes(_picture(icc_profile=b"no profile")),
    "text.png": _bytes(_picture().replace(b"IEND", b"tEXt")),
    "drawing.png": _bytes(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "page.png": _bytes(b"<!DOCTYPE html><html><body>404</body></html>"),
    "zeros.png": _bytes(bytes(10_000)),
    "postscript.png": _bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\n(touch pwned) system\n"
    ),
    "archive.png": _bytes(gzip.compress(_PICTURE)),
    "pickled.png": _bytes(pickle.dumps(Planted())),
    "pipe.png": os.mkfifo,
    "socket.png": _socket,
    "device.png": lambda path: path.symlink_to("/dev/zero"),
    "folder.png": Path.mkdir,
    "itself.png": lambda path: path.symlink_to(path.name),
    "nowhere.png": lambda path: path.symlink_to("nothing"),
    "no access.png": _locked,
    "line\nbreak.png": _bytes(_PICTURE),
    "escape\x1b[31m.png": _bytes(b"?"),
    os.fsdecode(b"bytes\xff\xfe.png"): _bytes(_PICTURE),
    os.fsdecode(b"bad\xff.png"): _bytes(b"?"),
    "=1+1.png": _bytes(_PICTURE),
    "-x.png": _bytes(b"?"),
    "a,b=c;${d}'\".png": _bytes(_PICTURE),
    "\u202egnp.exe.png": _bytes(_PICTURE),
    f"{'x' * 240}.png": _bytes(_PICTURE),
    ".hidden.png": _bytes(b"?"),
    "UPPER.PNG": _bytes(_PICTURE),
}


def _npy(array: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **how)
    return buffer.getvalue()


def _header(text: str, version: bytes = b"\x01\x00", data: bytes = b"") -> bytes:
    """An npy file that says what it is given."""
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode("latin1") + data


def _described(shape: str, kind: str = "'|u1'", fortran: str = "False") -> str:
    return f"{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def _npz(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


_ARRAY = _npy(FLOATS)
_PART_NAN = np.where(np.arange(784).reshape(28, 28, 1) < 300, np.nan, FLOATS).astype(np.float32)

ARRAYS: dict[str, Maker] = {
    "whole.npy": _bytes(_ARRAY),
    **{f"cut-{part}.npy": _bytes(_ARRAY[:part]) for part in (0, 5, 9, 60, 128, 200, len(_ARRAY) - 1)},
    "objects.npy": _bytes(_npy(np.array([Planted()] * 3, object), allow_pickle=True)),
    "pickle.npy": _bytes(pickle.dumps(Planted())),
    "pickle.npz": _bytes(pickle.dumps(Planted())),
    "long-header.npy": _bytes(_header(_described("(4, 28, 28, 1)").replace(" ", " " * 30_000), b"\x02\x00")),
    "many.npy": _bytes(_header(_described("(99999999999, 28, 28, 1)"))),
    "more.npy": _bytes(_header(_described(f"({2**63}, 28, 28, 1)"))),
    "minus.npy": _bytes(_header(_described("(-1, 28, 28, 1)"))),
    "truth.npy": _bytes(_header(_described("(True, 28, 28, 1)"))),
    "code.npy": _bytes(_header("__import__('os').system('touch pwned')\n")),
    "deep.npy": _bytes(_header("(" * 5_000 + "\n")),
    "record.npy": _bytes(_npy(np.zeros(4, [("a", "u1"), ("b", "f4")]))),
    "half.npy": _bytes(_npy(FLOATS.astype(np.float16))),
    "long.npy": _bytes(_npy(FLOATS.astype(np.longdouble))),
    "double.npy": _bytes(_npy(FLOATS.astype(np.float64))),
    "big-endian.npy": _bytes(_npy(FLOATS.astype(">f4"))),
    "complex.npy": _bytes(_npy(FLOATS.astype(np.complex64))),
    "text.npy": _bytes(_npy(FLOATS.astype("U3"))),
    "dates.npy": _bytes(_npy(FLOATS.astype(np.int64).astype("M8[s]"))),
    "truths.npy": _bytes(_npy(FLOATS > 0.5)),
    "signed.npy": _bytes(_npy(FLOATS.astype(np.int16))),
    "nan.npy": _bytes(_npy(np.full_like(FLOATS, np.nan))),
    "part-nan.npy": _bytes(_npy(_PART_NAN)),
    "infinite.npy": _bytes(_npy(np.full_like(FLOATS, np.inf))),
    "beyond.npy": _bytes(_npy(FLOATS * 1e30)),
    "below.npy": _bytes(_npy(FLOATS - 1e-3)),
    "denormal.npy": _bytes(_npy(FLOATS * np.float32(1e-40))),
    "fortran.npy": _bytes(_npy(np.asfortranarray(np.tile(FLOATS, (1, 1, 1, 1))))),
    "transposed.npy": _bytes(_npy(FLOATS.reshape(4, 28, 28).T)),
    "none.npy": _bytes(_npy(FLOATS[:0])),
    "scalar.npy": _bytes(_npy(np.float32(1))),
    "flat.npy": _bytes(_npy(FLOATS.ravel())),
    "other.npy": _bytes(_npy(FLOATS[:, :14])),
    "colour.npy": _bytes(_npy(np.tile(FLOATS, (1, 1, 1, 3)))),
    "empty-axis.npy": _bytes(_npy(np.zeros((0, 0, 28, 1), np.float32))),
    "whole.npz": _bytes(_npz({"images": _ARRAY})),
    "stored.npz": _bytes(_npz({"images": _ARRAY}, zipfile.ZIP_STORED)),
    "lzma.npz": _bytes(_npz({"images": _ARRAY}, zipfile.ZIP_LZMA)),
    "cut.npz": _bytes(_npz({"images": _ARRAY})[:-30]),
    "bomb.npz": lambda path: path.write_bytes(
        _npz({"images": _header(_described("(500000, 28, 28, 1)"), data=bytes(10**8))})
    ),
    "control-bomb.npz": lambda path: path.write_bytes(
        _npz({"control": _header(_described("(10000000, 1, 1, 4)", "'<f4'"), data=bytes(16 * 10**7))})
    ),
    "others.npz": _bytes(_npz({"a": _ARRAY, "b": _ARRAY})),
    "nothing.npz": _bytes(_npz({})),
    "wrong.npz": _bytes(_npz({"images": b"nothing"})),
    "outside.npz": _bytes(_npz({"../../images": _ARRAY})),
    "objects.npz": _bytes(_npz({"images": _npy(np.array([Planted()], object), allow_pickle=True)})),
    "flipped.npz": _bytes((lambda whole: whole[:80] + bytes([whole[80] ^ 255]) + whole[81:])(_npz({"images": _ARRAY}))),
    "array.npz": _bytes(_ARRAY),
    "archive.npy": _bytes(_npz({"images": _ARRAY})),
    "pipe.npy": os.mkfifo,
    "device.npy": lambda path: path.symlink_to("/dev/zero"),
    "folder.npy": Path.mkdir,
    "nowhere.npz": lambda path: path.symlink_to("nothing"),
}


def idx(*shape: int, kind: int = 8, magic: bytes = b"\x00\x00", data: bytes | None = None) -> bytes:
    """An idx file that says what it is given."""
    sizes = b"".join(struct.pack(">I", size) for size in shape)
    return magic + bytes([kind, len(shape)]) + sizes + (bytes(int(np.prod(shape))) if data is None else data)


IDX: dict[str, bytes] = {
    "nothing": b"",
    "magic": idx(2, 28, 28, magic=b"PK"),
    "floats": idx(2, 28, 28, kind=13),
    "header": idx(2, 28, 28)[:9],
    "short": idx(2, 28, 28)[:-1],
    "long": idx(2, 28, 28) + b"\x00",
    "huge": idx(2**32 - 1, 2**32 - 1, 2**32 - 1, data=b""),
    "wraps": idx(2**31, 2**31, 4, data=b""),
    "no axes": idx(data=b"\x00"),
    "many axes": bytes([0, 0, 8, 255]) + bytes(255 * 4),
    "none": idx(0, 28, 28),
    "labels": idx(2),
}
GZIPPED: dict[str, Maker] = {
    "cut": _bytes(gzip.compress(idx(2, 28, 28))[:-9]),
    "no gzip": _bytes(idx(2, 28, 28)),
    "bomb": lambda path: path.write_bytes(gzip.compress(bytes(10**9), 1)),
}

_DEEP = 100_000
TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(100),
    "binary": bytes(range(256)),
    "mark": b"\xef\xbb\xbf{}",
    "wide": '{"command": "train"}'.encode("utf-16"),
    "nested": b"[" * _DEEP,
    "objects": b'{"a":' * 200 + b"1" + b"}" * 200,
    "list": b"[1, 2]",
    "text": b'"train"',
    "null": b"null",
    "nan": b'{"seconds": NaN, "layers": {"gmm1": {"sigma": Infinity}}}',
    "large": b'{"seconds": 1e999, "steps": ' + b"9" * 4_000 + b"}",
    "digits": b'{"steps": ' + b"9" * 5_000 + b"}",
    "surrogate": b'{"command": "\\ud800", "error": "\\udfff"}',
    "control": b'{"command": "train\\u0000\\u001b[31m", "status": "\\n"}',
    "twice": b'{"status": "failed", "status": "finished"}',
    "cut": b'{"command": "train", "status": ',
    "types": json.dumps(
        {key: [1] for key in ("command", "status", "config", "layers", "seconds", "starts", "data")}
    ).encode(),
    "others": json.dumps(
        {key: {"a": None} for key in ("command", "status", "config", "layers", "starts", "classes")}
    ).encode(),
    "numbers": json.dumps(dict.fromkeys(["command", "status", "config", "layers", "starts", "error"], 3)).encode(),
    "many": json.dumps({"layers": {f"gmm{number}": {"sigma": number} for number in range(2_000)}}).encode(),
}

_BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])
YAMLS: dict[str, bytes] = {
    "nothing": b"",
    "binary": bytes(range(256)),
    "tab": b"name:\tx\n\tlayers: []",
    "open": b"layers: [{type: gmm",
    "bomb": _BOMB.encode(),
    "itself": b"layers: &a [*a]",
    "nested": b"layers: " + b"[" * 5_000,
    "object": b"name: !!python/object/apply:os.system [touch pwned]\nlayers: []",
    "name": b"name: !!python/name:os.system\nlayers: []",
    "tag": b"name: !x y\nlayers: []",
    "binary tag": b"name: !!binary gIGC\nlayers: []",
    "set": b"layers: !!set {a, b}",
    "dates": b"name: 2020-01-01\nlayers: []",
    "resolved": b"name: ${oc.env:HOME}\nlayers: ${oc.decode:x}",
    "created": b"name: ${oc.create:{_target_:os.system}}\nlayers: []",
    "missing": b"name: ???\nlayers: ???",
    "list": b"- a\n- b",
    "scalar": b"3",
    "documents": b"name: a\n---\nname: b",
    "twice": b"name: a\nname: b",
    "keys": b"? [a, b]\n: c\n3: 4\n~: x\n",
    "merge": b"<<: {name: a}\nlayers: []",
    "wrong": b"name: [1]\nlayers: {a: b}\nexponent: x\nsharpening: 3",
    "layers": b"layers: [{type: gmm, components: 1e400}, 3, null, [{}]]",
    "large": b"layers: [{type: gmm, components: 99999999999999999999}]",
    "target": b"_target_: os.system\nlayers: []",
    "defaults": b"defaults: [1L, {override /hydra/launcher: joblib}]\nlayers: []",
    "package": b"# @package hydra.callbacks\nx: {_target_: os.system}",
    "wide": "name: a".encode("utf-16"),
    "percent": b"%YAML 9.9\n---\nname: a",
    "hydra": b"# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}",
}


def _packed(path: Path, write: Callable[[zipfile.ZipFile, str, bytes], object]) -> None:
    """Write an archive anew."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            write(archive, name, content)


def _longer(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    is_data = "/data/" in name
    archive.writestr(name, bytes(10**7) if is_data else content, zipfile.ZIP_DEFLATED if is_data else None)


def _shorter(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(name, content[:-4] if "/data/" in name and len(content) > 8 else content)


def _without(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    if not name.endswith("/data/1"):
        archive.writestr(name, content)


def _with_code(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(name, pickle.dumps(Planted(), 2) if name.endswith("data.pkl") else content)


def _cut(part: float) -> Maker:
    return lambda path: path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def _state(change: Callable[[dict[str, Any]], object]) -> Maker:
    """Change what a checkpoint holds."""

    def maker(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return maker


def _first(change: Callable[[torch.Tensor], object]) -> Maker:
    """Change the first array of numbers in a checkpoint that holds more than one number."""

    def on(node: Any) -> bool:
        for key, value in node.items() if isinstance(node, dict) else ():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() > 1:
                node[key] = change(value)
                return True
            if on(value):
                return True
        return False

    return _state(on)


def _instead(maker: Maker, path: Path) -> None:
    path.unlink()
    maker(path)


# Changes to a file that torch wrote.
CHECKPOINTS: dict[str, Maker] = {
    **{f"cut at {part}": _cut(part) for part in (0, 0.1, 0.5, 0.99)},
    "flipped": _flip,
    "long members": partial(_packed, write=_longer),
    "short members": partial(_packed, write=_shorter),
    "a member less": partial(_packed, write=_without),
    "planted": partial(_packed, write=_with_code),
    "pickle": _bytes(pickle.dumps(Planted(), 2)),
    "pickle of old": lambda path: torch.save({"x": Planted()}, path, _use_new_zipfile_serialization=False),
    "of old": lambda path: torch.save(torch.load(path), path, _use_new_zipfile_serialization=False),
    "itself": _state(lambda state: state.update(more=state)),
    "nothing": _state(lambda state: state.clear()),
    "format": _state(lambda state: state.update(format=99)),
    "config": _state(lambda state: state.update(config="${oc.env:HOME}")),
    "resolved": _state(lambda state: state.update(config={"dataset": {"name": "${oc.env:HOME}"}, "seed": "${seed}"})),
    "names": _state(lambda state: state.update(class_names=[{}, 3], classes=7)),
    "classes": _state(lambda state: state.update(classes=7, data_digest="other")),
    "replicas": _state(lambda state: state.update(replicas=3)),
    "keys": _state(lambda state: [state.pop(key) for key in [*state] if key not in ("format", "dcgmm")]),
    "flat": _state(lambda state: [state.update({key: 3}) for key in [*state] if key not in ("format", "dcgmm")]),
    "NaN": _first(lambda tensor: torch.full_like(tensor, torch.nan)),
    "infinite": _first(lambda tensor: torch.full_like(tensor, -torch.inf)),
    "half": _first(lambda tensor: tensor.half()),
    "whole numbers": _first(lambda tensor: tensor.long()),
    "complex": _first(lambda tensor: tensor.to(torch.complex64)),
    "shape": _first(lambda tensor: tensor.flatten()[:-1]),
    "no shape": _first(lambda tensor: tensor.sum()),
    "sparse": _first(lambda tensor: tensor.to_sparse()),
    "quantised": _first(lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.quint8)),
    "nowhere": _first(lambda tensor: tensor.to("meta")),
    "repeated": _first(lambda tensor: tensor.flatten()[:1].expand(10**12)),
    "text": _first(lambda tensor: "x" * 100),
    "none": _first(lambda tensor: None),
    "pipe": partial(_instead, os.mkfifo),
    "folder": partial(_instead, Path.mkdir),
}


def make(makers: Mapping[str, Maker], folder: Path) -> dict[str, Path]:
    """Put files of these names into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, maker in makers.items():
        maker(folder / name)
    return {name: folder / name for name in makers}
