"""Claims about the states of stakes, and the power that follows from them (docs/protocol.md, section 6)."""

from wire import *

SPENT = ("WITHDRAWN", "EXPANDED", "SLASHED", "BREACHED")


def histories(facts):
    """Each transition is caused by a message of its hub block, at a Bitcoin tip of that block, and its state is due."""
    for i, stake in enumerate(facts.report["stakes"]):
        steps = stake["history"]
        facts.need(steps[0]["state"] == "PENDING" and steps[0]["cause"] == stake["id"], f"stakes/{i}: begins PENDING by its registration")
        for j, step in enumerate(steps):
            where = f"stakes/{i}/history/{j}"
            before = steps[j - 1] if j else None
            facts.need(step["hub_height"] < len(facts.log.blocks), f"{where}: hub_height is in the log")
            facts.need(not before or step["hub_height"] >= before["hub_height"], f"{where}: hub_height does not go back")
            facts.need(not before or step["state"] != before["state"], f"{where}: the state changes")
            due(facts, where, facts.stakes[stake["id"]], stake, step, caused(facts, where, step))


def caused(facts, where, step):
    """The place in its hub block of the message that made the transition, and Bitcoin's tip after it."""
    block = facts.log.blocks[step["hub_height"]]
    ids = [id.hex() for id, _, _ in block.messages]
    at = [ids.index(step["cause"])] if step["cause"] in ids else []
    if at:
        facts.need(step["state"] not in SPENT, f"{where}: a spend is caused by a transaction")
    else:
        at = [place for place, (_, _, content) in enumerate(block.messages)
              if "inclusion" in content and content["inclusion"]["tx"].txid == step["cause"]]
    facts.need(at, f"{where}: cause is a message of hub block {block.height} or a transaction proven in it")
    tip, height = block.tips[at[0]]
    facts.need(step["btc_height"] == height, f"{where}: btc_height is the tip's, {height}")
    return at[0], tip


def due(facts, where, own, told, step, caused):
    """What the state needs, from the log up to the message that made it."""
    log, at, state, (position, tip) = facts.log, step["hub_height"], step["state"], caused
    included = facts.place(own.real["tx"].txid, (at, position), tip)
    unbonded = facts.place(told["unbonding_txid"], (at, position), tip)
    lock, u = own.real["lock"], own.version["unbonding_blocks"]
    if state in ("VERIFIED", "ACTIVE", "ENDING"):
        members = {each["member"] for _, _, each in log.all("answer", at) if each["signed"] and each["stake"].hex() == told["id"]}
        facts.need(len(members) >= own.version["quorum"], f"{where}: a quorum of the committee has signed")
    if state == "ACTIVE":
        deep = included is not None and step["btc_height"] - included >= own.version["k"]
        facts.need(deep, f"{where}: at depth k")
        facts.need(step["btc_height"] < included + lock - u, f"{where}: more than the unbonding time is left")
    if state == "ENDING":
        ending = included is not None and step["btc_height"] >= included + lock - u
        facts.need(ending, f"{where}: the unbonding time or less is left")
    if state == "WITHDRAWABLE":
        free = unbonded + u if unbonded is not None else included + lock
        facts.need(step["btc_height"] + 1 >= free, f"{where}: the timelock is over")
    if state == "UNBONDING":
        facts.need(unbonded is not None, f"{where}: the unbonding transaction is proven")
    if state == "EXPOSED":
        named = {key.hex() for key in own.real["fps"] + own.real["old_fps"]}
        facts.need(named & exposed(facts, at), f"{where}: a named key is out")
    if state == "SLASHED":
        facts.need(step["cause"] in told["slashing_txids"], f"{where}: cause is a slashing transaction")
    if state == "EXPANDED":
        facts.need(successor(facts, told, step["cause"]) is not None, f"{where}: cause is the expanding transaction")
    if state == "WITHDRAWN":
        outputs = {told["outpoint"], f"{told['unbonding_txid']}:0"}
        tx = next(proof["tx"] for proof in log.proven(log.blocks[at]) if proof["tx"].txid == step["cause"])
        facts.need(outputs & set(tx.spends()), f"{where}: cause spends the stake or its unbonding output")


def exposed(facts, hub_height):
    return {each["key"].hex() for _, _, each in facts.log.all("evidence", hub_height)}


def successor(facts, told, txid):
    for other in facts.report["stakes"]:
        if other["outpoint"].split(":")[0] == txid and facts.stakes[other["id"]].real["expands"] == bytes.fromhex(told["id"]):
            return other
    return None


def state_at(stake, hub_height):
    """The last transition at or before a hub block, and the one before that."""
    steps = [step for step in stake["history"] if step["hub_height"] <= hub_height]
    return steps[-1] if steps else None, steps[-2] if len(steps) > 1 else None


def power(facts, hub_height):
    """Ledger power of every key after a hub block: section 6.2, from the histories in the report."""
    sums, out = {}, exposed(facts, hub_height)
    for stake in facts.report["stakes"]:
        now, before = state_at(stake, hub_height)
        keys = []
        if now and now["state"] == "ACTIVE":
            keys = stake["fps"]
        if now and now["state"] == "EXPANDED" and before["state"] == "ACTIVE":
            new = successor(facts, stake, now["cause"])
            waiting = state_at(new, hub_height)[0]
            if waiting and waiting["state"] == "VERIFIED" and not out & set(stake["fps"] + stake["old_fps"]):
                keys = [key for key in stake["fps"] if key in new["fps"]]
        for key in keys:
            sums[key] = sums.get(key, 0) + stake["sat"]
    return sums
