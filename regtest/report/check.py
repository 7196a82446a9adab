#!/usr/bin/env python3
"""Checks every claim of a demo's report: `check.py REPORT`. With `--self-test` it also alters the report, one digit at a
time, and requires that each alteration is noticed.

It starts the kept node as the report says, asks it, and stops it. Everything else it knows from the files that the report
names and from docs/protocol.md by way of docs/vectors: none of our Rust code."""

import json
import sys
from pathlib import Path

import anchors
import finality
import history
import hublog
import ledger
import order
import reorgs
import rules
import shape
import story
import transactions
from node import Node
from wire import *

CLAIMS = [
    ("shape", lambda facts: shape.check(facts.report, facts.need)),
    ("commit", story.commit),
    ("node", transactions.node_tip),
    ("hub and log", ledger.hub),
    ("chains", ledger.chains),
    ("params", ledger.params),
    ("fps", ledger.fps),
    ("stakes", ledger.stakes),
    ("reorgs", reorgs.reorgs),
    ("rules", rules.rules),
    ("histories", history.histories),
    ("txs", transactions.txs),
    ("refused", transactions.refused),
    ("finality", finality.finality),
    ("equivocations", finality.equivocations),
    ("refusals", story.refusals),
    ("anchors", anchors.anchors),
    ("timestamps", anchors.timestamps),
    ("files", anchors.files),
    ("steps", story.steps),
    ("order", order.order),
]


class FalseFact(Exception):
    pass


class Facts:
    """The report, what it is checked against, and how many facts held."""

    def __init__(self, report, base, node, cache, files):
        self.report, self.base, self.node, self.cache, self.files = report, base, node, cache, files
        self.held, self.told, self.trips, self.seen, self.certified = 0, {}, [], [], []
        genesis_bytes = self.file(report["hub"]["genesis"])
        self.log, self.log_facts = hublog.checked_log(self.file(report["hub"]["log"]), genesis_bytes)
        self.hub_id = tagged("palisade/1/hub", genesis_bytes)
        self.index(self.log)

    def index(self, log):
        """What the log says, by what it is about; places are (hub height, place in the block)."""
        self.commitments, self.answers, self.evidence = {}, {}, []
        self.inclusions, self.spends = {}, {}
        for block in log.blocks:
            for place, (_, name, content) in enumerate(block.messages):
                at = block.height, place
                if name == "commitment":
                    self.commitments.setdefault((content["key"].hex(), content["epoch"]), []).append((at, content))
                if name == "answer":
                    self.answers.setdefault(content["stake"].hex(), []).append((at, place, content))
                if name == "evidence":
                    self.evidence.append((at, content["key"].hex()))
                if "inclusion" in content:
                    proof = content["inclusion"]
                    self.inclusions.setdefault(proof["tx"].txid, []).append((at, proof["block"]))
                    for outpoint in proof["tx"].spends():
                        self.spends.setdefault(outpoint, []).append((at, proof["tx"], proof["block"]))

    def need(self, holds, fact):
        if not holds:
            raise FalseFact(fact)
        self.held += 1

    def count(self, facts):
        self.held += facts

    def file(self, path):
        return self.files.get(path) or (self.base / path).read_bytes()

    def version_at(self, height):
        """The parameters in force at a Bitcoin height."""
        fitting = [i for i, each in enumerate(self.versions) if each["from_height"] <= height]
        return (fitting[-1], self.versions[fitting[-1]]) if fitting else (0, self.versions[0])

    def version_of(self, registration):
        """Of the tip at registration, or of the inclusion where the stake was confirmed before."""
        if "inclusion" in registration:
            return self.version_at(self.log.bitcoin[registration["inclusion"]["block"]])[0]
        id = next(id for id, (_, name, content) in self.log.messages.items() if content is registration)
        return self.version_at(self.log.tip_after(id)[1])[0]

    def chain(self, tip):
        """Hashes of the blocks below a tip, and the tip's."""
        if tip not in self.cache:
            self.cache[tip] = set(self.log.chain_at(tip))
        return self.cache[tip]

    def place(self, txid, until, tip):
        """Height of the block in which the log, up to a message, has proven a transaction on the chain of a tip."""
        known = self.inclusions.get(txid, [])
        found = [self.log.bitcoin[block] for at, block in known if at <= until and block in self.chain(tip)]
        return found[-1] if found else None

    def spend(self, outpoint, until, tip):
        """The transaction that spends an output, and its height, as the log has proven up to a message."""
        known = self.spends.get(outpoint, [])
        found = [(tx, self.log.bitcoin[block]) for at, tx, block in known if at <= until and block in self.chain(tip)]
        return found[-1] if found else None


def check(report, base, node, cache, say=lambda line: None, files={}):
    """Says how many facts of each kind hold; raises at the first that does not. `files` are taken for those on disk."""
    facts = Facts(report, base, node, cache, files)
    for kind, claim in CLAIMS:
        before = facts.held
        claim(facts)
        say(f"{kind:<15}{facts.held - before:>7} facts hold")
    return facts.held


def shaped(holds, fact):
    if not holds:
        raise ValueError(f"it is false that {fact}")


def main():
    paths = [word for word in sys.argv[1:] if word != "--self-test"]
    if len(paths) != 1:
        raise SystemExit("usage: check.py [--self-test] REPORT")
    path = Path(paths[0]).resolve()
    try:
        report = json.loads(path.read_text())
        shape.check(report, shaped)
    except (OSError, ValueError, RecursionError) as why:
        raise SystemExit(f"{path} is no report: {why}")
    try:
        node, cache = Node(report["node"]["start"], report["node"]["cli"]), {}
    except OSError as why:
        raise SystemExit(f"the node does not start: {why}")
    try:
        held = check(report, path.parent, node, cache, print)
        print(f"{held} facts hold")
        if "--self-test" in sys.argv[1:]:
            import selftest

            selftest.run_lies(report, lambda altered: check(altered, path.parent, node, cache))
            selftest.run(report, lambda altered: check(altered, path.parent, node, cache))
            selftest.run_files(
                {name: (path.parent / name).read_bytes() for name in selftest.files_of(report)},
                lambda files: check(report, path.parent, node, cache, files=files),
            )
    except (FalseFact, AssertionError, ArithmeticError, LookupError, OSError, TypeError, ValueError) as why:
        print(f"false: {why}" if isinstance(why, (FalseFact, OSError)) else f"false: {why!r}")
        raise SystemExit(1)
    finally:
        node.stop()


if __name__ == "__main__":
    main()
