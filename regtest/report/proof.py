"""The proof file: from the trust root by certificates to the set of a block of another chain, its certificate, and the anchor
above the hub's record of it. Everything that `verify` judges."""

from finality import climb
from wire import *

SECTIONS, SETS, HEADERS = 9, 5, 7


def read(data):
    """The proof behind the genesis document."""
    r = Reader(data)
    out = {"from": r.number(4), "steps": r.items(lambda: step(r)), "checkpoints": r.items(lambda: checkpoint(r))}
    block = {"chain": r.chain(), "genesis": r.take(32), "incarnation": r.number(4), "terms": r.take(24)}
    block |= {"step": r.number(2), "set_place": way(r), "certificate": votes(r), "record": under(r)}
    r.end()
    return out | {"block": block}


def state(r):
    data = r.take(140)
    return {"header": header(data), "sections": [r.take(32) for _ in range(SECTIONS)]}


def way(r):
    return r.items(lambda: (r.number(1), r.take(32)))


def under(r):
    out = {"checkpoint": r.number(2), "header": header(r.take(140)), "message": way(r)}
    return out | {"among_headers": r.maybe(lambda: way(r))}


def votes(r):
    start = r.at
    return certificate(r) | {"bytes": r.data[start : r.at]}


def step(r):
    out = {"state": state(r), "certificate": votes(r), "next": r.take(118), "place": way(r)}
    return out | {"under": r.maybe(lambda: under(r))}


def checkpoint(r):
    out = {"inclusion": inclusion(r), "state": state(r)}
    out["signers"] = r.items(lambda: {"key": r.take(32), "power": r.number(8), "bls": r.take(96)})
    return out | {"members": r.hashes()}


def set_of(data):
    r = Reader(data)
    out = {"context": r.take(32), "epoch": r.number(8), "expiry": r.number(4), "count": r.number(2)}
    return out | {"total": r.number(8), "members": r.take(32), "nonces": r.take(32)}


def holds(own):
    return root([leaf(section) for section in own["sections"]]) == own["header"]["state_root"]


def has(own, section, data, place):
    return top_of(data, place) == own["sections"][section]


def leads(under, certificate, over):
    """The certificate with its signatures, as a message of the hub's log, lies under the checkpoint."""
    message = tagged("palisade/1/message", b"\x09" + certificate["bytes"])
    if under["among_headers"] is None:
        inside = under["header"]["hash"] == over["header"]["hash"]
    else:
        inside = has(over, HEADERS, under["header"]["hash"], under["among_headers"])
    return inside and top_of(message, under["message"]) == under["header"]["message_root"]


def top_of(data, place):
    at = leaf(data)
    for on_the_left, sibling in place:
        at = node(sibling, at) if on_the_left else node(at, sibling)
    return at


def multi_root(pairs, size, listed):
    """Section 1.5."""
    known, listed = dict(pairs), list(listed)
    if not known or max(known) >= size:
        return None
    while size > 1:
        above, places = {}, sorted(known)
        while places:
            at = places.pop(0)
            if at % 2 == 0 and at + 1 == size:
                above[at // 2] = known[at]
            elif at % 2 == 0 and places[:1] == [at + 1]:
                above[at // 2] = node(known[at], known[places.pop(0)])
            elif not listed:
                return None
            else:
                sibling = listed.pop(0)
                above[at // 2] = node(sibling, known[at]) if at % 2 else node(known[at], sibling)
        known, size = above, (size + 1) // 2
    return None if listed else known[0]


def certified(facts, where, own, length, every):
    """A certificate is valid by itself: section 7.4."""
    chosen, ballot = set_of(own["set"]), Reader(own["ballot"])
    named, height = ballot.take(32), ballot.number(8)
    facts.need(named == chosen["context"] and height // length == chosen["epoch"], f"{where}: the set is of the epoch")
    indices = [each["index"] for each in own["voters"]]
    facts.need(indices == sorted(set(indices)) and height % every == 0, f"{where}: voters in order, a voted height")
    members = [(each["index"], leaf(each["member"][:72])) for each in own["voters"]]
    nonces = [(each["index"], leaf(each["member"][72:])) for each in own["voters"]]
    facts.need(multi_root(members, chosen["count"], own["members"]) == chosen["members"], f"{where}: voters are members")
    facts.need(multi_root(nonces, chosen["count"], own["nonces"]) == chosen["nonces"], f"{where}: nonce roots are the set's")
    power = sum(int.from_bytes(each["member"][32:40], "big") for each in own["voters"])
    facts.need(3 * power > 2 * chosen["total"] > 0, f"{where}: more than two thirds voted")
    for each in own["voters"]:
        top = climb(leaf(each["R"]), height % length // every, length // every, each["path"])
        facts.need(top == each["member"][72:], f"{where}: the nonce is that of the height")
        signed = verifies(each["member"][:32], sha256(own["ballot"]), each["R"] + each["s"])
        facts.need(signed, f"{where}: the vote's signature")
    return chosen


def check(facts, data, trusted, headers, place):
    """Walks the steps, dates the checkpoints, and judges the block."""
    own, terms = read(data), facts.terms["zero"]
    length, every = terms["epoch_length"], terms["voted_every"]
    zero_terms = u64(length) + u64(every) + u64(terms["minimum_power"])
    current, sets = trusted, {set_of(trusted)["epoch"]: set_of(trusted)}
    for i, each in enumerate(own["steps"]):
        where, head = f"proof, step {i}", each["state"]["header"]
        facts.need(head["height"] == set_of(current)["epoch"] * length and holds(each["state"]), f"{where}: the epoch's first block")
        ballot = facts.contexts["zero"] + u64(head["height"]) + head["hash"]
        same = each["certificate"]["ballot"] == ballot and each["certificate"]["set"] == current
        facts.need(same, f"{where}: certified by the epoch's set")
        certified(facts, where, each["certificate"], length, every)
        new = set_of(each["next"])
        facts.need(new["context"] == facts.contexts["zero"] and new["epoch"] == set_of(current)["epoch"] + 1, f"{where}: the next epoch's set")
        facts.need(has(each["state"], SETS, each["next"] + zero_terms, each["place"]), f"{where}: the next set is in the state")
        current, sets[new["epoch"]] = each["next"], new
    dates = [date(facts, f"proof, checkpoint {i}", each, sets, headers, place) for i, each in enumerate(own["checkpoints"])]
    tip = place + len(headers) // 80 - 1
    for i, each in enumerate(own["steps"]):
        if each["under"]:
            over = own["checkpoints"][each["under"]["checkpoint"]]["state"]
            inside = leads(each["under"], each["certificate"], over)
            facts.need(inside, f"proof, step {i}: its certificate lies under the checkpoint")
        expiry = set_of(each["certificate"]["set"])["expiry"]
        dated = each["under"] and dates[each["under"]["checkpoint"]] <= expiry
        facts.need(tip <= expiry or dated, f"proof, step {i}: certified in time")
    return final_block(facts, own, dates, tip)


def date(facts, where, own, sets, headers, first):
    """Height of the Bitcoin block that holds the checkpoint."""
    head, proof = own["state"]["header"], own["inclusion"]
    terms = facts.terms["zero"]
    scripts = [script for _, script in proof["tx"].outputs if b"plsd\x01" in script[:8]]
    facts.need(len(scripts) == 1 and head["hash"] in scripts[0] and holds(own["state"]), f"{where}: names the header")
    payload = Reader(scripts[0][scripts[0].index(b"plsd") + 5 :])
    epoch = payload.number(8)
    facts.need(payload.take(32) == head["hash"] and epoch in sets, f"{where}: of an epoch whose set is known")
    last = (epoch + 1) * terms["epoch_length"] - terms["voted_every"]
    facts.need(head["height"] == last, f"{where}: names the epoch's last voted block")
    bitmap = payload.take((sets[epoch]["count"] + 7) // 8)
    bits = [j for j in range(8 * len(bitmap)) if bitmap[j // 8] & 0x80 >> j % 8]
    facts.need(len(bits) == len(own["signers"]), f"{where}: signers are those of the bitmap")
    leaves = [leaf(each["key"] + u64(each["power"]) + sha256(each["bls"])) for each in own["signers"]]
    top = multi_root(zip(bits, leaves), sets[epoch]["count"], own["members"])
    facts.need(top == sets[epoch]["members"], f"{where}: signers are members")
    power = sum(each["power"] for each in own["signers"])
    facts.need(3 * power > 2 * sets[epoch]["total"], f"{where}: more than two thirds signed")
    keys, signature = tuple(each["bls"] for each in own["signers"]), payload.take(48)
    signed = bls.verify(keys, checkpoint_message(facts, epoch, head["hash"]), signature)
    facts.need(signed, f"{where}: the signature of those signers")
    blocks = {double(headers[i : i + 80]): i for i in range(0, len(headers), 80)}
    facts.need(proof["block"] in blocks, f"{where}: its block is among the headers")
    start = blocks[proof["block"]]
    facts.need(included(proof, headers[start + 36 : start + 68]), f"{where}: its transaction is in the block")
    facts.need(first + start // 80 <= sets[epoch]["expiry"], f"{where}: in time")
    return first + start // 80


def checkpoint_message(facts, epoch, header):
    """What the members of chain zero's set sign: section 9.1."""
    checkpoints = context(facts.hub_id, facts.log.born["magic"], "zero", facts.hub_id, 0, 3)
    return tagged("palisade/1/checkpoint", checkpoints + u64(epoch) + header)


def final_block(facts, own, dates, tip):
    block = own["block"]
    name, ballot = block["chain"], Reader(block["certificate"]["ballot"])
    terms = facts.terms[name]
    written = u64(terms["epoch_length"]) + u64(terms["voted_every"]) + u64(terms["minimum_power"])
    facts.need(block["terms"] == written and block["incarnation"] == 0, "proof: the chain's terms")
    facts.need(ballot.take(32) == facts.contexts[name], "proof: the block is of the chain")
    height, hash = ballot.number(8), ballot.take(32)
    chosen = certified(facts, "proof, block", block["certificate"], terms["epoch_length"], terms["voted_every"])
    over = own["steps"][block["step"]]["state"]
    facts.need(has(over, SETS, block["certificate"]["set"] + written, block["set_place"]), "proof: the block's set is in a certified state")
    record = own["checkpoints"][block["record"]["checkpoint"]]["state"]
    inside = leads(block["record"], block["certificate"], record)
    facts.need(inside, "proof: the certificate lies under an anchor")
    dated = dates[block["record"]["checkpoint"]]
    facts.need(tip <= chosen["expiry"] or dated <= chosen["expiry"], "proof: certified in time")
    facts.need(tip - dated >= facts.versions[0]["w"], "proof: the anchor is final at the last header")
    told = [(each["chain"], each["height"], each["block"]) for each in facts.report["finality"]]
    facts.need((name, height, hash.hex()) in told, "proof: the block is in finality")
