"""Files that claim, or unpack to, far more than they are: Parquet, CSV, images and archives of them.

    python files.py FOLDER

writes all of them into FOLDER. Each takes little memory to make and a few megabytes of disk at most.
"""

import gzip
import io
import pathlib
import struct
import sys
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GIB = 1 << 30


def one_value_of_a_gibibyte(path):
    table = pa.table({"a": pa.array([b"\0" * GIB], pa.large_binary())})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)


def a_text_of_a_gibibyte_by_gzip(path):
    table = pa.table({"a": pa.array(["x" * GIB], pa.large_string())})
    pq.write_table(table, path, compression="gzip", use_dictionary=False, write_statistics=False)


def a_dictionary_of_long_values(path):
    words = pa.array(["x" * (8 << 20) + str(at) for at in range(16)])
    column = pa.DictionaryArray.from_arrays(pa.array(np.arange(100_000, dtype=np.int32) % 16), words)
    pq.write_table(pa.table({"a": column}), path, compression="zstd", dictionary_pagesize_limit=GIB)


def one_list_of_a_hundred_million(path):
    numbers = pa.array(np.zeros(100_000_000, np.int64))
    column = pa.LargeListArray.from_arrays(pa.array([0, len(numbers)], pa.int64()), numbers)
    pq.write_table(pa.table({"a": column}), path, compression="zstd")


def lists_in_lists(path):
    inner = pa.array(np.zeros(50_000_000, np.int8))
    middle = pa.ListArray.from_arrays(pa.array(np.arange(0, 50_000_001, 10, dtype=np.int32)), inner)
    outer = pa.ListArray.from_arrays(pa.array([0, len(middle)], pa.int32()), middle)
    pq.write_table(pa.table({"a": outer}), path, compression="zstd")


def three_thousand_columns(path):
    column = pa.array(np.zeros(200, np.int64))
    pq.write_table(pa.table({f"c{at}": column for at in range(3_000)}), path, compression="zstd")


def nulls_of_a_mebibyte(path):
    # They take the width of their column, and nothing in the file.
    wide = pa.schema([("a", pa.binary(1 << 20))])
    with pq.ParquetWriter(path, wide) as writer:
        for _ in range(60):
            writer.write_table(pa.table({"a": pa.nulls(10, pa.binary(1 << 20))}, schema=wide), row_group_size=1 << 20)


def equal_numbers(path):
    pq.write_table(pa.table({f"c{at}": np.zeros(40_000_000, np.int8) for at in range(4)}), path, compression="zstd")


def prefixes(path):
    words = pa.array(["x" * 50_000] * 5_000, pa.large_string())
    pq.write_table(
        pa.table({"a": words}), path, use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"}, compression="none"
    )


def a_deep_schema(path):
    column = pa.array([1])
    for _ in range(800):
        column = pa.StructArray.from_arrays([column], ["x"])
    pq.write_table(pa.table({"a": column}), path)


def a_csv_line(path, bytes_of_value):
    with open(path, "wb") as file:
        file.write(b"a,b\n1,\"")
        for _ in range(bytes_of_value >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b"\"\n")


def a_csv_of_columns(path):
    with open(path, "wb") as file:
        for _ in range(64):
            file.write(b"," * (1 << 20))
        file.write(b"\n1\n")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, colour=2):
    rows = zlib.compressobj(9)
    row = b"\0" * (1 + width * (3 if colour == 2 else 1))
    pixels = b"".join(rows.compress(row) for _ in range(min(height, 2_000))) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def png_of_profiles():
    profile = b"p\0\0" + zlib.compress(b"\0" * (256 << 20), 9)
    text = b"k\0\0" + zlib.compress(b"\0" * (256 << 20), 9)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * (25 * 8))
    parts = [chunk(b"IHDR", header), chunk(b"iCCP", profile), chunk(b"zTXt", text), chunk(b"IDAT", pixels)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def gif(width, height, frames):
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return head + frame * frames + b";"


def bmp(width, height):
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def tiff(width, height, bands, bits, strip=b"", compression=1):
    bits_at = 8 + 2 + 11 * 12 + 4
    strip_at = bits_at + 2 * bands
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, bands, bits if bands == 1 else bits_at),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, 1, strip_at),
        (277, 3, 1, bands),
        (278, 4, 1, height),
        (279, 4, 1, len(strip)),
        (284, 3, 1, 1),
        (338, 3, 1, 0),
    ]
    entries = b"".join(struct.pack("<HHII", *it) for it in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + struct.pack(f"<{bands}H", *[bits] * bands) + strip


def webp(width, height):
    image = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x88\x88\x08\0\0"
    return b"RIFF" + struct.pack("<I", 4 + len(image)) + b"WEBP" + image


def jpeg(width, height, progressive):
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x44\0\x02\x11\0\x03\x11\0"
    mark = b"\xff\xc2" if progressive else b"\xff\xc0"
    scan = b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0"
    return b"\xff\xd8" + mark + struct.pack(">H", len(frame) + 2) + frame + scan + b"\0" * 64 + b"\xff\xd9"


def images():
    """Name and bytes of every hostile image."""
    size = 60_000
    yield "wide.png", png(size, size)
    yield "fits.png", png(9_999, 9_999)
    yield "profiles.png", png_of_profiles()
    yield "wide.gif", gif(size, size, 1)
    yield "fits.gif", gif(9_999, 9_999, 1)
    yield "frames.gif", gif(2_000, 2_000, 100_000)
    yield "wide.bmp", bmp(size, size)
    yield "fits.bmp", bmp(9_999, 9_999)
    yield "wide.tiff", tiff(size, size, 3, 8)
    yield "deep.tiff", tiff(9_000, 9_000, 13, 64, zlib.compress(b"\0" * (64 << 20), 9), 8)
    yield "bands.tiff", tiff(3_000, 3_000, 60_000, 8)
    yield "wide.webp", webp(16_383, 16_383)
    yield "fits.webp", webp(9_999, 9_999)
    yield "wide.jpg", jpeg(size, size, False)
    yield "fits.jpg", jpeg(9_999, 9_999, False)
    yield "steps.jpg", jpeg(9_999, 9_999, True)
    yield "fine.png", png(8, 8)


def archive_of_images(path):
    with tarfile.open(path, "w") as archive:
        for name, content in images():
            # Twice each, so that several are looked at side by side.
            for folder in ["a", "b"]:
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def archive_of_names(path):
    with tarfile.open(path, "w") as archive:
        for at in range(60_000):
            archive.addfile(tarfile.TarInfo("/".join([f"{at:07}"] * 30) + "/1.png"))


def archive_of_claims(path):
    entry = tarfile.TarInfo("a/1.png")
    entry.size = 8 << 30
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10_240)


def archive_of_large_files(path):
    with tarfile.open(path, "w") as archive:
        for at in range(6):
            entry = tarfile.TarInfo(f"{'ab'[at % 2]}/{at}.bmp")
            width = 4_600
            body = bmp(width, width)
            entry.size = len(body) + width * width * 3
            archive.addfile(entry, io.BytesIO(body + b"\0" * (width * width * 3)))


def a_gzip_of_zeros(path):
    with gzip.open(path, "wb", 9) as file:
        for _ in range(1024):
            file.write(b"0" * (1 << 20))


PARQUET = [
    one_value_of_a_gibibyte,
    a_text_of_a_gibibyte_by_gzip,
    a_dictionary_of_long_values,
    one_list_of_a_hundred_million,
    lists_in_lists,
    three_thousand_columns,
    nulls_of_a_mebibyte,
    equal_numbers,
    prefixes,
    a_deep_schema,
]


def write_all(folder):
    """Writes every file; gives format and path of each."""
    for make in PARQUET:
        path = folder / f"{make.__name__}.parquet"
        make(path)
        yield "parquet", path
    lines = {"a_csv_value_of_60_mib": 60 << 20, "a_csv_value_of_600_mib": 600 << 20}
    for name, size in lines.items():
        a_csv_line(folder / f"{name}.csv", size)
        yield "csv", folder / f"{name}.csv"
    a_csv_of_columns(folder / "columns.csv")
    yield "csv", folder / "columns.csv"
    a_gzip_of_zeros(folder / "zeros.csv")
    yield "csv", folder / "zeros.csv"
    for make in [archive_of_images, archive_of_names, archive_of_claims, archive_of_large_files]:
        path = folder / f"{make.__name__}.tar"
        make(path)
        yield "images", path


if __name__ == "__main__":
    for kind, path in write_all(pathlib.Path(sys.argv[1])):
        print(kind, path, path.stat().st_size)
