"""Claims about the story: its steps name facts that are there. And hub blocks that providers refused."""

import json
import subprocess
from pathlib import Path

from wire import *

PROOF = {"txs", "finality", "anchors", "reorgs", "refusals", "refused"}
NAMED = ["fps", "finality", "equivocations", "refusals", "anchors", "timestamps", "reorgs", "refused"]
NEEDED = ["chains", "params", "txs", "stakes", "files", "steps", *NAMED]
# The story's sentences: each step, and what it must at least show; a transaction by its kind.
STEPS = {
    "1.1": {"fps": 8},
    "1.2": {"fund": 4},
    "1.3": {"stake": 4},
    "1.4": {"params": 1, "finality": 2},
    "2.1": {"stakes": 4},
    "2.2": {"finality": 2},
    "2.3": {"finality": 8},
    "2.4": {"refusals": 1},
    "3.1": {"anchors": 1},
    "3.2": {"timestamps": 1},
    "3.3": {"files": 3, "finality": 1, "anchors": 1},
    "4.1": {"unbond": 1, "withdraw": 1, "refused": 2},
    "4.2": {"withdraw": 1, "refused": 1},
    "4.3": {"expand": 1, "refused": 1},
    "5.1": {"equivocations": 1, "slash": 2},
    "5.2": {"withdraw": 2, "finality": 2},
    "6.1": {"stake": 1, "reorgs": 1},
    "6.2": {"stake": 1, "reorgs": 1},
    "6.3": {"unbond": 1, "withdraw": 1, "finality": 1},
    "6.4": {"stake": 1, "finality": 2},
}


def steps(facts):
    """Each step names a transaction, vote, anchor, reorganisation or refusal; names lead somewhere; heights go on."""
    for section in NEEDED:
        facts.need(facts.report[section], f"{section} is not empty")
    height, numbers = 0, []
    for i, step in enumerate(facts.report["steps"]):
        where, sections = f"steps/{i}", []
        for reference in step["refs"]:
            section, place = reference.split("/")
            entries = facts.report[section]
            places = map(str, range(len(entries))) if isinstance(entries, list) else entries
            facts.need(place in places, f"{where}: {reference} is there")
            sections.append(section)
        facts.need(PROOF & set(sections), f"{where}: names a transaction, vote, anchor, reorganisation or refusal")
        named = [facts.report["txs"][int(each.split("/")[1])]["txid"] for each in step["refs"] if each.startswith("txs/")]
        facts.need(sorted(named) == sorted(step["txs"]), f"{where}: txs and refs name the same transactions")
        facts.need(len(set(step["refs"])) == len(step["refs"]), f"{where}: no ref stands twice")
        stakes = {each for each in step["refs"] if each.startswith("stakes/")}
        facts.need(stakes_of(facts, step["txs"]) == stakes, f"{where}: the stakes of its transactions are named, and no others")
        kinds = sections + [facts.report["txs"][int(each.split("/")[1])]["kind"] for each in step["refs"] if each.startswith("txs/")]
        for kind, count in STEPS.get(step["n"], {}).items():
            facts.need(kinds.count(kind) >= count, f"{where}: step {step['n']} shows {count} of {kind}")
        begin, end = step["btc"]
        facts.need((i == 0 or begin == height) and begin <= end, f"{where}: heights go on from {height}")
        facts.need(step["n"] not in numbers, f"{where}: {step['n']} stands once")
        height, numbers = end, numbers + [step["n"]]
    facts.need(set(numbers) == set(STEPS), "every step of the story is told, and no other")
    facts.need(height == facts.report["node"]["tip"]["height"], "the last step ends at the node's tip")
    every_fact_is_named(facts)
    facts.need(sum(step["ms"] for step in facts.report["steps"]) <= facts.report["ms"], "steps took no longer than the story")


def stakes_of(facts, txids):
    ids = [stake["id"] for stake in facts.report["stakes"]]
    entries = [entry for entry in facts.report["txs"] if entry["txid"] in txids and "stake" in entry]
    named = {entry["stake"] for entry in entries}
    expanded = {facts.stakes[entry["stake"]].real["expands"].hex() for entry in entries if entry["kind"] == "expand"}
    return {f"stakes/{ids.index(id)}" for id in named | expanded}


def every_fact_is_named(facts):
    """The certificates of anchored headers aside, which belong to their anchors."""
    named = {reference for step in facts.report["steps"] for reference in step["refs"]}
    anchored = {anchor["header"] for anchor in facts.report["anchors"]}
    for section in NAMED:
        for i, entry in enumerate(facts.report[section]):
            own = section != "finality" or entry["block"] not in anchored
            facts.need(not own or f"{section}/{i}" in named, f"{section}/{i} is named by a step")
    for name in facts.report["files"]:
        facts.need(f"files/{name}" in named, f"files/{name} is named by a step")


def refusals(facts):
    """A provider would not vote for a header that the hub signed: the log has the same one with the root that the replica
    computed. The signature stands in the voter's own record, which is named by the header's hash."""
    for i, entry in enumerate(facts.report["refusals"]):
        where, told = f"refusals/{i}", header(bytes.fromhex(entry["header"]))
        facts.need(entry["height"] < len(facts.log.blocks), f"{where}: the log has come to the height")
        honest = facts.log.blocks[entry["height"]]
        for field in ("height", "previous", "message_root", "btc_tip", "btc_height"):
            facts.need(told[field] == honest.header[field], f"{where}: {field} is as in the log")
        facts.need(entry["expected_root"] == honest.header["state_root"].hex(), f"{where}: expected_root is the log's")
        facts.need(entry["expected_root"] != told["state_root"].hex(), f"{where}: the header has another root")
        facts.need(bytes.fromhex(entry["message"]) == honest.messages[-1][0], f"{where}: message is the block's last")
        name = f"*/voter-data/refusals/{entry['height']:012}-{told['hash'].hex()}.json"
        records = [json.loads(path.read_text()) for path in facts.base.glob(name)]
        facts.need(any(record["fp"] == entry["fp"] for record in records), f"{where}: the provider's voter has recorded it")
        message = tagged("palisade/1/signed-header", facts.log.hub_context + told["hash"])
        signed = verifies(facts.log.born["hub_key"], message, bytes.fromhex(records[0]["signature"]))
        facts.need(signed and entry["fp"] in facts.fps, f"{where}: the hub signed the header")


def commit(facts):
    """The commit is one of this checkout's."""
    known = facts.report["commit"] + "^{commit}"
    asked = subprocess.run(["git", "-C", str(Path(__file__).parent), "cat-file", "-e", known], capture_output=True)
    facts.need(asked.returncode == 0, "commit is one of this checkout's")
