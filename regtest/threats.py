#!/usr/bin/env python3
"""Checks docs/threats.md: `threats.py LOG...`, before the tests `threats.py --listed LOG...`, and with `--self-test` that it notices
what is wrong.

Every case must have one verdict; every test that is named must have run and passed in the logs (what `cargo test` wrote,
standard output and standard error in one file), or, for `--listed`, be there (what `cargo test -- --list` wrote); every file that is named must hold the piece that is quoted. What a test
proves is not checked: that is for whoever reads it.

Tests are named as `CRATE KIND PATH`, where KIND is `lib` or `it`. Cargo says of a library which crate it is, and of the test
programs, all called `it`, it does not. But it runs crate by crate, the library first: so an `it` is taken to be of the crate
whose library ran last before it, and where none did, the path alone decides."""

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = "docs/threats.md"

TEST = re.compile(r"`(checkpointer|covenant|finality-provider|hub|protocol|regtest|staker|world) (lib|it) ([\w:]+)`")
PIECE = re.compile(r"`([\w./-]+)`: `([^`]+)`")
PROGRAM = re.compile(r"^ *Running (?:unittests )?(\S+) \(.*?([\w-]+)-[0-9a-f]+\)$")
OUTCOME = re.compile(r"^test ([\w:]+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)")
LISTED = re.compile(r"^([\w:]+): (test)$")

# The cases that there are: one that is taken off the page is missed.
CASES = (
    "1-2 4-7 9-12 15-19 21-23 25-27 29-37 39-42 45 47-53 55 57-61 64-71 73 75-84 86-90 93-94 97-100 102 104-105 "
    "107-112 114 116-118 120-126 129-133 135-140 143-147 149-153 155-159 161-173 175 177-179 181-185 187 189-192 "
    "194-196 198 201-227 242-243 250-255"
)

NEEDS = {"test": TEST, "impossible": PIECE, "absent": None, "open": None}


def read_logs(paths, line_of_test=OUTCOME):
    """What came of each test: {(crate, kind, path): outcomes}. Of one that is listed, "test". The crate of an `it` is None where no library ran before it."""
    found = {}
    for path in paths:
        crate, program = None, None
        for line in Path(path).read_text(errors="replace").splitlines():
            if line.lstrip().startswith("Doc-tests "):
                program = None
            elif running := PROGRAM.match(line):
                source, name = running.groups()
                if source == "src/lib.rs":
                    crate = name.removeprefix("palisade_").replace("_", "-")
                program = {"src/lib.rs": (crate, "lib"), "tests/it/main.rs": (crate, "it")}.get(source)
            elif (outcome := line_of_test.match(line)) and program:
                found.setdefault((*program, outcome[1]), set()).add(outcome[2])
    return found


def faults_of(verdict, where, root, outcomes):
    """What is wrong with one row."""
    if verdict not in NEEDS:
        several = sum(word in NEEDS for word in re.findall(r"\w+", verdict)) > 1
        yield "has more than one verdict" if several else f"has the unknown verdict {verdict!r}" if verdict else "has no verdict"
    elif not where:
        yield "says nothing of where"
    elif NEEDS[verdict] and not NEEDS[verdict].search(where):
        yield f"names no {'test' if verdict == 'test' else 'file with a piece of it'}, which `{verdict}` needs"
    for span in re.findall(r"`[^`]+`", PIECE.sub("", where)):
        if named := TEST.fullmatch(span):
            crate, kind, path = named.groups()
            came = outcomes.get((crate, kind, path)) or outcomes.get((None, kind, path)) or {"not run"}
            if not came <= {"ok", "test"}:
                yield f"names the test {span}, which is {' and '.join(sorted(came))}"
        elif re.search("::| lib | it ", span):
            yield f"names {span}, which is no `CRATE KIND PATH`"
    for name, piece in PIECE.findall(where):
        if not (root / name).is_file():
            yield f"names the file {name}, which does not exist"
        elif piece not in (root / name).read_text():
            yield f"quotes `{piece}`, which {name} does not hold"


def numbers(ranges):
    """The names of cases that are written as ranges of their numbers."""
    pairs = [(part + "-" + part).split("-")[:2] for part in ranges.split()]
    return {f"T-{number:03}" for first, last in pairs for number in range(int(first), int(last) + 1)}


def check(root, logs, cases, line_of_test=OUTCOME):
    """What is wrong with the page, and its rows."""
    page, outcomes = (root / PAGE).read_text(), read_logs(logs, line_of_test)
    lines = [line for line in page.splitlines() if line.startswith("| T-")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    faults, seen = [], set()
    for case, *row in rows:
        name = case.split()[0]
        if name in seen:
            faults.append(f"{name} stands twice")
        seen.add(name)
        if len(row) != 3:
            faults.append(f"{name} has {1 + len(row)} cells, not 4")
            continue
        _, verdict, where = row
        faults += [f"{name} {fault}" for fault in faults_of(verdict, where, root, outcomes)]
        if verdict == "open":
            faults.append(f"{name} is open")
    faults += [f"{name} is missing" for name in sorted(numbers(cases) - seen)]
    if f"{len(seen)} cases" not in page:
        faults.append(f"the page has {len(seen)} cases, and states another number")
    return faults, rows


GOOD = """2 cases
| T-001 P1 | a | test | `hub lib a::b`, `regtest it c::d` |
| T-002 P2 | b | impossible | `docs/x.rs`: `enum One` only one |
"""
RUN = """     Running unittests src/lib.rs (target/debug/deps/palisade_hub-0a1b)
test a::b ... ok
     Running unittests src/lib.rs (target/debug/deps/palisade_regtest-0a1b)
     Running tests/it/main.rs (target/debug/deps/it-0a1b)
test c::d ... ok
"""
NOTICED = [  # an alteration of the page, one of the log, and what must be said
    (("", ""), ("a::b ... ok", "a::b ... FAILED"), "is FAILED"),
    (("", ""), ("test c::d ... ok\n", ""), "is not run"),
    (("", ""), ("palisade_regtest", "palisade_staker"), "is not run"),
    (("hub lib a::b", "hub a::b"), ("", ""), "no `CRATE KIND PATH`"),
    (("docs/x.rs", "docs/y.rs"), ("", ""), "does not exist"),
    (("enum One", "enum Two"), ("", ""), "does not hold"),
    (("| test |", "| |"), ("", ""), "no verdict"),
    (("| test |", "| test, absent |"), ("", ""), "more than one verdict"),
    (("| test |", "| fine |"), ("", ""), "unknown verdict"),
    (("| impossible |", "| test |"), ("", ""), "names no test"),
    (("T-002", "T-001"), ("", ""), "stands twice"),
    (("T-002", "T-003"), ("", ""), "T-002 is missing"),
    (("| T-002", "| b | T-002"), ("", ""), "another number"),
    (("| test |", "| open |"), ("", ""), "is open"),
]


def self_test():
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "docs").mkdir()
        (root / "docs/x.rs").write_text("pub enum One {}\n")

        def said(page, log):
            [(root / name).write_text(text) for name, text in ((PAGE, page), ("log", log))]
            return check(root, [root / "log"], "1-2")[0]

        assert said(GOOD, RUN) == []
        for page, log, wanted in NOTICED:
            faults = said(GOOD.replace(*page, 1), RUN.replace(*log, 1))
            assert any(wanted in fault for fault in faults), f"{page} {log}: {faults}, and not {wanted!r}"
        assert "is not run" in said(GOOD, RUN.replace("test a::b ... ok", "a::b: test"))[0]
        (root / "log").write_text(re.sub(r"test (\S+) \.\.\. ok", r"\1: test", RUN))
        assert check(root, [root / "log"], "1-2", LISTED)[0] == []
        assert len(check(root, [], "1-2", LISTED)[0]) == 2
    print(f"{len(NOTICED)} faults, each noticed")


def main(args):
    if "--self-test" in args:
        return self_test()
    listed = args[:1] == ["--listed"]
    faults, rows = check(ROOT, args[listed:], CASES, LISTED if listed else OUTCOME)
    print(*(f"{sum(row[2:3] == [verdict] for row in rows)} {verdict}" for verdict in NEEDS), sep=", ")
    if faults:
        sys.exit("".join(f"  {fault}\n" for fault in faults) + f"{len(faults)} faults in docs/threats.md")


if __name__ == "__main__":
    main(sys.argv[1:])
