"""Trains a classifier on the pictures of a pinned dataset version and logs it as ONNX.

    python train/images.py --input data --algorithm mlp --experiment digits --seed 0
"""

import argparse
import io
import pathlib
import sys
from collections import Counter

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]

import kaogong_job

kaogong_job.reach_server_directly()

import fit
import numpy as np
from PIL import Image, ImageOps

#: The longest side of a tensor: one colour, three colours.
SIDE_MAX = {1: 64, 3: 32}
#: Bytes that all pictures may take as numbers.
TENSOR_BYTES_MAX = 1 << 30
GREY = {"1", "L", "LA", "I;16", "I;16B", "I", "F"}

Image.MAX_IMAGE_PIXELS = 100_000_000


def decode(content):
    """A picture in displayed orientation, with one colour or three."""
    with Image.open(io.BytesIO(content)) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.mode not in GREY:
            return picture.convert("RGB")
        if picture.mode in ("I", "I;16", "I;16B", "F"):
            deep = np.asarray(picture, dtype=np.float64) / 257.0
            return Image.fromarray(np.clip(np.rint(deep), 0, 255).astype(np.uint8), "L")
        return picture.convert("L")


def choose_shape(sizes, channels):
    """Width and height for all: the usual size, made smaller until its longest side is within the bound."""
    width, height = Counter(sizes).most_common(1)[0][0] if len(set(sizes)) == 1 else np.median(sizes, axis=0)
    factor = min(1.0, SIDE_MAX[channels] / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def thumbnail(picture):
    """The picture, made no larger than the largest tensor needs, so that all of them fit into memory."""
    side = 2 * max(SIDE_MAX.values())
    if max(picture.size) <= side:
        return picture, picture.size
    size = picture.size
    factor = side / max(size)
    small = picture.resize((max(1, round(size[0] * factor)), max(1, round(size[1] * factor))), Image.Resampling.BILINEAR)
    return small, size


def load(dataset):
    """Pictures and labels of the training split."""
    pictures, sizes, labels = [], [], []
    for item in dataset.items(split="train"):
        if item.label is None:
            continue
        small, size = thumbnail(decode(item.content))
        pictures.append(small)
        sizes.append(size)
        labels.append(item.label)
        if len(labels) % 1000 == 0:
            fit.say(f"read {len(labels)} pictures")
    if len(set(labels)) < 2:
        raise SystemExit(f"the training split has pictures of {len(set(labels))} class; two are needed")
    return pictures, sizes, labels


def tensors(pictures, width, height, channels):
    """Pixels from 0 to 1, one row a picture: rows, columns, colours."""
    if len(pictures) * width * height * channels * 4 > TENSOR_BYTES_MAX:
        raise SystemExit(f"{len(pictures)} pictures of {width}x{height} take more than {TENSOR_BYTES_MAX >> 20} MiB")
    x = np.empty((len(pictures), width * height * channels), dtype=np.float32)
    for at, picture in enumerate(pictures):
        picture = picture.convert("L" if channels == 1 else "RGB")
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        x[at] = np.asarray(picture, dtype=np.float32).reshape(-1) / 255.0
    return x


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", default="data", help="the job's name for the dataset")
    parser.add_argument("--algorithm", choices=["logistic", "mlp"], default="logistic")
    parser.add_argument("--experiment", default="images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    dataset = kaogong_job.dataset(options.input)
    fit.say(f"reading {dataset.name}@{dataset.number}")
    pictures, sizes, names = load(dataset)
    channels = 1 if all(it.mode == "L" for it in pictures) else 3
    width, height = choose_shape(sizes, channels)
    fit.say(f"{len(pictures)} pictures as {width}x{height}x{channels}")
    x = tensors(pictures, width, height, channels)
    labels = sorted(set(names))
    index = {label: at for at, label in enumerate(labels)}
    y = np.array([index[it] for it in names])
    task = {
        "kind": "image-classification",
        "width": width,
        "height": height,
        "channels": channels,
        "layout": "flat",
        "scale": 1 / 255,
        "mean": [0.0] * channels,
        "std": [1.0] * channels,
        "labels": labels,
        "input": "x",
        "output": "probabilities",
    }
    fit.classification(x, y, labels, task, options)


if __name__ == "__main__":
    main()
