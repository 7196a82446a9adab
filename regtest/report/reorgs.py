"""Claims about reorganisations of Bitcoin, and the power before and after them."""

from history import power
from transactions import branch
from wire import *


def reorgs(facts):
    """The old branch is off the best chain, the fork is the last common block, and what was removed stands in it only."""
    for i, entry in enumerate(facts.report["reorgs"]):
        where = f"reorgs/{i}"
        old, new = branch(facts, entry["old_tip"]), branch(facts, entry["new_tip"])
        facts.need(old and old[0]["confirmations"] == -1, f"{where}: old_tip is off the best chain")
        facts.need(new, f"{where}: the node knows new_tip")
        known = {block["hash"] for block in new}
        lost = [block for block in old if block["hash"] not in known]
        facts.need(lost and lost[-1]["height"] == entry["fork_height"] + 1, f"{where}: fork_height is the last common block's")
        gained = [block for block in new if block["height"] > entry["fork_height"]]
        facts.need(gained, f"{where}: the new branch is on top of the fork")
        before, after = contents(facts, lost), contents(facts, gained)
        for txid in entry["removed"]:
            facts.need(txid in before and txid not in after, f"{where}: {txid} is in the old branch only")
        facts.need(set(entry["removed"]) == before - after, f"{where}: nothing else was removed")
        seen = seen_by_hub(facts, where, entry)
        deep = old[0]["height"] - entry["fork_height"] > facts.version_at(old[0]["height"])[1]["k"]
        facts.need(entry["breaker"] == deep, f"{where}: the breaker trips if more than k blocks are lost")
        facts.trips += [seen] if deep else []
        facts.seen.append(seen)
        power_around(facts, where, entry)
        affected(facts, where, i, entry, old[0]["height"])


def affected(facts, where, i, entry, tip):
    """The step's stake was exactly k deep; the keys are those that it names, and whichever others gained or lost."""
    step = next((step for step in facts.report["steps"] if f"reorgs/{i}" in step["refs"]), None)
    facts.need(step, f"{where}: belongs to a step")
    place = next(each for each in step["refs"] if each.startswith("stakes/"))
    stake = facts.report["stakes"][int(place.split("/")[1])]
    k = facts.version_at(tip)[1]["k"]
    heights = [each.get("height") for each in facts.report["txs"] if each["kind"] == "stake" and each.get("stake") == stake["id"]]
    facts.need(tip - k in heights, f"{where}: {place} is exactly k deep when it begins")
    heights = sorted({each["hub_height"] for each in entry["power"]})
    before, after = (power(facts, height) for height in heights)
    changed = {key for key in facts.fps if before.get(key, 0) != after.get(key, 0)}
    keys = {each["key"] for each in entry["power"]}
    facts.need(keys == set(stake["fps"]) | changed, f"{where}: power of each affected key is told")
    facts.need(entry["breaker"] or not changed, f"{where}: no power changes without the breaker")


def power_around(facts, where, entry):
    """All affected keys at one hub block on the old branch, and at one after it."""
    for j, each in enumerate(entry["power"]):
        header = facts.log.blocks[each["hub_height"]].header
        facts.need(each["btc_height"] == header["btc_height"], f"{where}/power/{j}: btc_height is that of the hub block")
        facts.need(each["key"] in facts.fps, f"{where}/power/{j}: key is a provider's")
        sat = power(facts, each["hub_height"]).get(each["key"], 0)
        facts.need(each["sat"] == sat, f"{where}/power/{j}: the key had {sat} sat")
    heights = sorted({each["hub_height"] for each in entry["power"]})
    keys = {each["key"] for each in entry["power"]}
    facts.need(len(heights) == 2 and len(entry["power"]) == 2 * len(keys), f"{where}: power is told before and after")
    told = {(each["hub_height"], each["key"]) for each in entry["power"]}
    facts.need(told == {(height, key) for height in heights for key in keys}, f"{where}: power of the same keys both times")
    before, after = (facts.log.blocks[height].header["btc_tip"][::-1].hex() for height in heights)
    facts.need(before == entry["old_tip"], f"{where}: the first power is that at the old tip")
    facts.need(bytes.fromhex(entry["old_tip"])[::-1] not in facts.chain(bytes.fromhex(after)[::-1]), f"{where}: the second is after it")


def contents(facts, headers):
    return {txid for head in headers for txid in facts.node.ask("getblock", head["hash"], 1)["tx"][1:]}


def seen_by_hub(facts, where, entry):
    """The hub followed: its tip left the old branch at that fork. Gives the hub block."""
    old, tip = bytes.fromhex(entry["old_tip"])[::-1], (None, 0)
    for block in facts.log.blocks:
        for each, (_, name, content) in zip(block.tips, block.messages):
            if name == "headers" and tip[0] == old and each[0] != old:
                new = set(facts.log.chain_at(each[0]))
                if old not in new:
                    fork = next(facts.log.bitcoin[at] for at in facts.log.chain_at(old) if at in new)
                    facts.need(fork == entry["fork_height"], f"{where}: the hub's log forks at the same height")
                    return block.height
            tip = each
    facts.need(False, f"{where}: the hub's log leaves old_tip")
