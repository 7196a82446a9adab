"""Claims about the states of stakes, and the power that follows from them (docs/protocol.md, section 6)."""

from wire import *

# Messages that change the state of no stake.
STILL = ("provider", "consent", "commitment", "certificate", "anchor")
SPENT = ("WITHDRAWN", "EXPANDED", "SLASHED", "BREACHED")


def histories(facts):
    """Each transition is caused by a message of its hub block, at a Bitcoin tip of that block, and its state is due."""
    for i, stake in enumerate(facts.report["stakes"]):
        steps, places = stake["history"], []
        facts.need(steps[0]["state"] == "PENDING" and steps[0]["cause"] == stake["id"], f"stakes/{i}: begins PENDING by its registration")
        for j, step in enumerate(steps):
            where = f"stakes/{i}/history/{j}"
            before = steps[j - 1] if j else None
            facts.need(step["hub_height"] < len(facts.log.blocks), f"{where}: hub_height is in the log")
            facts.need(not before or step["hub_height"] >= before["hub_height"], f"{where}: hub_height does not go back")
            facts.need(not before or step["state"] != before["state"], f"{where}: the state changes")
            places.append((step["hub_height"], due(facts, where, facts.stakes[stake["id"]], stake, step)))
        facts.need(places == sorted(set(places)), f"stakes/{i}: transitions stand in the order of their causes")
        nothing_between(facts, i, stake, places)


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


def nothing_between(facts, i, stake, places):
    """After each message until the log's end the state is still the one told last: no transition is left out."""
    for at, states in spans(facts, stake):
        told = [step["state"] for step, place in zip(stake["history"], places) if place <= at]
        facts.need(told and told[-1] in states, f"stakes/{i}: hub block {at[0]} makes it {' or '.join(states)}")


def spans(facts, stake):
    """Places from which on the facts allow other states than before. What they follow from is compared with the log before
    histories are, so the self-test may remember them."""
    key = ("spans", stake["id"], tuple(facts.trips))
    if key not in facts.cache:
        own, found = facts.stakes[stake["id"]], []
        first = facts.log.messages[bytes.fromhex(stake["id"])][0]
        for block in facts.log.blocks[first:]:
            for place, (id, name, _) in enumerate(block.messages):
                began = found or id.hex() == stake["id"]
                if not began or name in STILL:
                    continue
                tip, height = block.tips[place]
                states, _ = state_of(facts, own, stake, (block.height, place), tip, height)
                if not found or found[-1][1] != states:
                    found.append(((block.height, place), states))
        facts.cache[key] = found
    return facts.cache[key]


def due(facts, where, own, told, step):
    """The state is the one that section 6.1 gives for the facts in the log up to the message that made it. Gives its place."""
    position, tip = caused(facts, where, step)
    until, height = (step["hub_height"], position), step["btc_height"]
    states, cause = state_of(facts, own, told, until, tip, height)
    facts.need(step["state"] in states, f"{where}: the facts say {' or '.join(states)}")
    facts.need(cause in (None, step["cause"]), f"{where}: its cause is {cause}")
    return position


def state_of(facts, own, told, until, tip, height):
    """States that the facts allow, and the transaction that must be the cause, if one must."""
    lock, u, k = own.real["lock"], own.version["unbonding_blocks"], own.version["k"]
    included = facts.place(own.real["tx"].txid, until, tip)
    named = {key.hex() for key in own.real["fps"] + own.real["old_fps"]}
    out = named & exposed(facts, until)
    spend = facts.spend(told["outpoint"], until, tip)
    if spend:
        left, spender = spend[1], spend[0]
        if spender.txid != told["unbonding_txid"]:
            return [kind_of_spend(facts, told, spender, lock)], spender.txid
        second = facts.spend(f"{told['unbonding_txid']}:0", until, tip)
        if second:
            return [kind_of_spend(facts, told, second[0], u)], second[0].txid
        if height + 1 >= left + u:
            return ["WITHDRAWABLE"], None
        return (["EXPOSED"], None) if out else (["UNBONDING"], None)
    if included is not None and height + 1 >= included + lock:
        return ["WITHDRAWABLE"], None
    answers = {each["member"]: each["signed"] for at, _, each in facts.answers.get(told["id"], []) if at <= until}
    signed = sum(answers.values())
    if len(own.version["covenant"]) - (len(answers) - signed) < own.version["quorum"]:
        return ["REJECTED"], None
    if lapsed(facts, own, told, until, tip):
        return ["LAPSED"], None
    if signed < own.version["quorum"]:
        return ["PENDING"], None
    if out:
        return ["EXPOSED"], None
    # Of a stake that was on Bitcoin when it was registered nobody knew before what becomes of its coins.
    since = facts.log.tip_after(bytes.fromhex(told["id"]))[1] if "inclusion" in own.real else 0
    if included is None or height < max(included, since) + k:
        return ["VERIFIED"], None
    if height >= included + lock - u:
        return ["ENDING"], None
    # A tripped breaker holds a stake back that is deep enough.
    return (["ACTIVE", "VERIFIED"] if tripped(facts, *until) else ["ACTIVE"]), None


def kind_of_spend(facts, told, tx, lock):
    """What a txid commits to, section 5.8."""
    if tx.txid in told["slashing_txids"]:
        return "SLASHED"
    if successor(facts, told, tx.txid):
        return "EXPANDED"
    ours = {told["outpoint"], f"{told['unbonding_txid']}:0"}
    sequences = [each[3] for each, outpoint in zip(tx.inputs, tx.spends()) if outpoint in ours]
    waited = any(not sequence & 0x80400000 and sequence & 0xFFFF >= lock for sequence in sequences)
    return "WITHDRAWN" if waited and tx.version >= 2 else "BREACHED"


def lapsed(facts, own, told, until, tip):
    """A stake with a backing that was on no Bitcoin block when its time was up."""
    if "backing" not in own.real or own.real["tx"].txid in facts.inclusions:
        return False
    registered = facts.log.tip_after(bytes.fromhex(told["id"]))[1]
    return facts.log.bitcoin[tip] >= registered + own.version["lapse"]


def exposed(facts, until):
    """Keys that are out by evidence in the log, up to a message."""
    return {key for at, key in facts.evidence if at <= until}


def successor(facts, told, txid):
    for other in facts.report["stakes"]:
        if other["outpoint"].split(":")[0] == txid and facts.stakes[other["id"]].real["expands"] == bytes.fromhex(told["id"]):
            return other
    return None


def state_at(stake, hub_height):
    """The last transition at or before a hub block, and the one before that."""
    steps = [step for step in stake["history"] if step["hub_height"] <= hub_height]
    return steps[-1] if steps else None, steps[-2] if len(steps) > 1 else None


def tripped(facts, height, place=float("inf")):
    """Whether the breaker is tripped after a message of a hub block, or its last. Deep reorganisations trip it in the story."""
    resumes = [at for at in facts.log.resumes if at <= (height, place)]
    return any(trip <= height and not any((trip, 0) <= at for at in resumes) for trip in facts.trips)


def power(facts, hub_height):
    """Ledger power of every key after a hub block: section 6.2, from the histories in the report."""
    sums, out = {}, exposed(facts, (hub_height, float("inf")))
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
