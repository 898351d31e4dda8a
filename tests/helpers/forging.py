"""Forges files: something else in one of their fields, and the right checksum."""

import copy
import json
import math
import warnings

import numpy as np

from rome_widgets.files import checksummed_file

TEXT = "</script>\n'''; import os #\ud800{}\0"
ANYTHING = [
    *(None, True, False, 0, 1, -1, 2, 7, 10**6, 2**63, -(2**63), 10**400, 0.5, -0.5, 1e308, 1e-320),
    *(math.nan, math.inf, -math.inf, "", "x", "nan", TEXT, "rome", "hidden", "0", "LowRank"),
    *([], [0], [0, 1], [[0, 1]], ["x"], [None], {}, {"0": "x"}, {"x": {}}, {"text": 5}),
]
DEEP = json.loads("[" * 200 + "]" * 200)
DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, np.bool_]


def places(value, path=()):
    """Every place in what JSON holds, the whole first."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, list):
        for at, each in enumerate(value[:3]):
            yield from places(each, (*path, at))


def forge_header(header, random):
    """The header with another thing in one of its places, without it, or with more."""
    header = copy.deepcopy(header)
    every = [*places(header)][1:]
    path = every[random.randint(len(every))]
    around = header
    for key in path[:-1]:
        around = around[key]
    last, way = path[-1], random.randint(8)
    if way == 0:
        del around[last]
    elif way == 1 and isinstance(around, dict):
        around["another"] = 5
    elif way == 2 and isinstance(around, list):
        around.append(copy.deepcopy(around[last]))
    elif way == 3:
        around[last] = copy.deepcopy(DEEP)
    else:
        around[last] = copy.deepcopy(ANYTHING[random.randint(len(ANYTHING))])
    return header


def forge_arrays(arrays, random):
    """The arrays, of which one has another type, shape, value, or name."""
    arrays = {name: np.array(array) for name, array in arrays.items()}
    names = [*arrays]
    name, way = names[random.randint(len(names))], random.randint(6)
    array = arrays[name]
    if way == 0:
        del arrays[name]
    elif way == 1:
        arrays["another"] = array
    elif way == 2:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays[name] = array.astype(DTYPES[random.randint(len(DTYPES))])
    elif way == 3:
        shapes = [(), (0,), (1,), array.shape[:-1], (*array.shape, 1), array.shape[::-1]]
        shape = shapes[random.randint(len(shapes))]
        arrays[name] = np.resize(array, shape)
    elif way == 4:
        arrays[name] = array[: len(array) // 2] if array.ndim else array
    elif array.size:
        values = [math.nan, math.inf, -math.inf, 1e308, -1, 2, 1e-320, 3e38]
        value = values[random.randint(len(values))]
        with np.errstate(all="ignore"):
            filled = np.full(array.shape, value) if random.randint(2) else array.astype(float)
            filled.flat[random.randint(array.size)] = value
            arrays[name] = filled.astype(array.dtype if array.dtype.kind == "f" else float)
    return arrays


def forged(path, kind, random):
    """A file of this kind, forged in one way or two, sealed again."""
    header, arrays = checksummed_file.read(path, kind._replace(arrays="numpy"))
    for _ in range(1 + random.randint(2)):
        if random.randint(3):
            header = forge_header(header, random)
        elif arrays:
            arrays = forge_arrays(arrays, random)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    into = path.with_name("forged")
    return checksummed_file.write(into, kind._replace(arrays="numpy"), header, arrays)
