"""Writes the 1,797 handwritten digits that come with scikit-learn as 8x8 PNG files in folders 0 to 9.

    python make_digits.py FOLDER
"""

import pathlib
import struct
import sys
import zlib

import numpy as np
from sklearn.datasets import load_digits


def png(pixels):
    """A grey PNG file of 8-bit pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def main(folder):
    digits = load_digits()
    for label in range(10):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
    for at, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        # The set holds 17 levels, 0 to 16.
        grey = np.rint(pixels * (255 / 16)).astype(np.uint8)
        (folder / str(label) / f"{at:04}.png").write_bytes(png(grey))
    print(f"{len(digits.target)} digits in {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
