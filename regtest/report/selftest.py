"""Alters one digit of the report at a time, and requires that the checker notices each."""

import copy
import random
import re

import lies

# What nothing else says: durations, words for people, and how to find the node (already started when this runs).
FREE = re.compile(r"ms|steps/\d+/(ms|claim)|steps/0/btc/0|refused/\d+/reason|node/(datadir|start|cli)(/\d+)?")
STATES = "PENDING VERIFIED ACTIVE ENDING UNBONDING EXPOSED WITHDRAWABLE WITHDRAWN EXPANDED SLASHED".split()
FILE_TIMES = 5
MOST = 4  # entries of a list that are altered: the first, the last, and some between


def run(report, check):
    """Fails at the first alteration that nobody notices; prints which fields were altered."""
    draw, count, fields = random.Random(7), 0, {}
    for path, value in leaves(report, draw):
        if FREE.fullmatch("/".join(map(str, path))):
            continue
        altered = copy.deepcopy(report)
        new = alter(value, draw)
        put(altered, path, new)
        if not noticed(altered, check):
            raise ValueError(f"{'/'.join(map(str, path))} altered from {value} to {new}: nobody notices")
        count += 1
        name = re.sub(r"/\d+", "", "/".join(map(str, path)))
        fields[name] = fields.get(name, 0) + 1
    for name, times in fields.items():
        print(f"  altered {name} {times} times")
    print(f"self-test: all {count} alterations of {len(fields)} fields were noticed")


def run_lies(report, check):
    """As `run`, for whole stories that are false."""
    count = 0
    for false, altered in lies.lies(report):
        if not noticed(altered, check):
            raise ValueError(f"{false}: nobody notices")
        count += 1
    print(f"self-test: all {count} false stories were noticed")


def files_of(report):
    """Files of which every byte is checked."""
    names = [report["hub"]["genesis"], report["hub"]["log"]]
    for entry in report["timestamps"]:
        names += [entry["file"], entry["ots"]]
    return names + list(report["files"].values())


def run_files(files, check):
    """As `run`, for single bits of the files that the report names."""
    draw = random.Random(7)
    for name, data in files.items():
        for _ in range(FILE_TIMES):
            place = draw.randrange(len(data))
            altered = data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
            if not noticed({name: altered}, check):
                raise ValueError(f"{name} altered at byte {place}: nobody notices")
        print(f"  altered a bit of {name} {FILE_TIMES} times")
    print(f"self-test: all alterations of {len(files)} files were noticed")


def noticed(altered, check):
    try:
        check(altered)
    except Exception:  # Whatever an altered report leads to, it is no report that passes.
        return True
    return False


def leaves(value, draw, path=()):
    """Paths of values that can be altered: all fields, of some entries of each list."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, draw, path + (name,))
    elif isinstance(value, list):
        places = range(len(value))
        if len(value) > MOST:
            places = sorted({0, len(value) - 1, *draw.sample(places, MOST - 2)})
        for place in places:
            yield from leaves(value[place], draw, path + (place,))
    elif path[-1] == "state" or isinstance(value, bool) or (value is not None and re.search(r"[0-9a-f]", str(value))):
        yield path, value


def alter(value, draw):
    """Another digit in one place; a truth value is turned over, a state is another one."""
    if value in STATES:
        return draw.choice([state for state in STATES if state != value])
    if isinstance(value, bool):
        return not value
    text = str(value)
    hexadecimal = not isinstance(value, int) and re.fullmatch(r"[0-9a-f]+", text)
    digits = "0123456789abcdef" if hexadecimal else "0123456789"
    places = [i for i, letter in enumerate(text) if letter in digits]
    if not places:  # A word without digits: one letter.
        digits, places = "abcdefghijklmnopqrstuvwxyz", [i for i, letter in enumerate(text) if letter.islower()]
    place = draw.choice(places)
    text = text[:place] + draw.choice([each for each in digits if each != text[place]]) + text[place + 1 :]
    return int(text) if isinstance(value, int) else text


def put(report, path, value):
    for name in path[:-1]:
        report = report[name]
    report[path[-1]] = value
