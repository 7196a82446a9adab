"""Claims about final blocks, the sets that made them final, and keys that came out (docs/protocol.md, section 7)."""

from itertools import permutations

from history import power, tripped
from wire import *


def finality(facts):
    """Votes of more than two thirds of a set that is the power at its snapshot, each with the nonce of its height."""
    for i, entry in enumerate(facts.report["finality"]):
        where, terms = f"finality/{i}", facts.terms[entry["chain"]]
        ballot = facts.contexts[entry["chain"]] + u64(entry["height"]) + bytes.fromhex(entry["block"])
        facts.need(entry["height"] % terms["voted_every"] == 0, f"{where}: the height is voted on")
        facts.need(entry["height"] // terms["epoch_length"] == entry["set"]["epoch"], f"{where}: the set is of the height's epoch")
        if entry["chain"] == "zero":
            block = facts.log.blocks[entry["height"]].header["hash"]
            facts.need(entry["block"] == block.hex(), f"{where}: the block is the hub's header")
        header = set_header(facts, entry["chain"], entry["set"])
        facts.need(tagged("palisade/1/set", header).hex() == entry["set"]["hash"], f"{where}: the set's hash")
        hub_height, certificate = facts.log.certificates.get(ballot, (None, None))
        facts.need(certificate and certificate["set"] == header, f"{where}: the log holds a certificate of the block under the set")
        facts.certified.append(hub_height)
        told = [(vote["key"], vote["R"], vote["s"]) for vote in entry["votes"]]
        real = [tuple(each.hex() for each in (own["member"][:32], own["R"], own["s"])) for own in certificate["voters"]]
        facts.need(told == real, f"{where}: votes are all of the certificate's, and no others")
        snapshot(facts, f"{where}/set", entry["chain"], entry["set"])
        votes(facts, where, entry, ballot, terms)
    stops(facts)


def stops(facts):
    """Step 2.3 stops each operator in turn: for each it names another block of each chain, which that operator has not voted for."""
    named = [ref for step in facts.report["steps"] if step["n"] == "2.3" for ref in step["refs"]]
    entries = [facts.report["finality"][int(ref.split("/")[1])] for ref in named if ref.startswith("finality/")]
    for chain in (chain["id"] for chain in facts.report["chains"]):
        keys = [fp["key"] for fp in facts.report["fps"] if fp["chain"] == chain]
        voters = [{vote["key"] for vote in entry["votes"]} for entry in entries if entry["chain"] == chain]
        matches = (all(key not in voted for key, voted in zip(keys, order)) for order in permutations(voters, len(keys)))
        facts.need(any(matches), f"step 2.3 names for each operator a block of {chain} that became final without it")


def set_header(facts, chain, told):
    members, nonces = [], []
    for member in told["members"]:
        bls = sha256(bytes.fromhex(member["bls"])) if "bls" in member else bytes(32)
        members.append(leaf(bytes.fromhex(member["key"]) + u64(member["sat"]) + bls))
        nonces.append(leaf(bytes.fromhex(member["nonce_root"])))
    total = sum(member["sat"] for member in told["members"])
    out = facts.contexts[chain] + u64(told["epoch"]) + u32(told["expiry"]) + u16(len(members)) + u64(total)
    return out + root(members) + root(nonces)


def snapshot(facts, where, chain, told):
    """The set is what had power at the hub block that fixed it; who had power and is no member is left out."""
    at = told["snapshot_hub_height"]
    facts.need(at < len(facts.log.blocks), f"{where}: snapshot_hub_height is in the log")
    header = facts.log.blocks[at].header
    tip = {"height": header["btc_height"], "hash": header["btc_tip"][::-1].hex()}
    facts.need(told["snapshot_btc"] == tip, f"{where}: snapshot_btc is the tip of that hub block")
    lifetime = facts.version_at(tip["height"])[1]["set_lifetime"]
    facts.need(told["expiry"] == tip["height"] + lifetime, f"{where}: expiry is {lifetime} blocks after the snapshot")
    if chain == "zero":
        length = facts.terms["zero"]["epoch_length"]
        fixed = (told["epoch"] - 1) * length
        # A set that is carried over while the breaker is tripped keeps the snapshot of the one before.
        while tripped(facts, fixed):
            fixed -= length
        facts.need(at == fixed, f"{where}: taken at hub block {fixed}, the first of the epoch before")
    else:
        facts.need(at in moments(facts, chain, told["epoch"], at), f"{where}: taken at a block that fixes a set")
    keys = [member["key"] for member in told["members"]]
    facts.need(keys == sorted(set(keys)), f"{where}: members stand in order of their keys")
    sums = {key: sat for key, sat in power(facts, at).items() if facts.fps[key]["chain"] == chain}
    for member in told["members"]:
        key, fp = member["key"], facts.fps[member["key"]]
        facts.need(sums.get(key) == member["sat"], f"{where}: {key} had {sums.get(key)} sat, not {member['sat']}")
        facts.need(member.get("bls") == (fp["bls"][0].hex() if fp["bls"] else None), f"{where}: BLS key of {key}")
        roots = [each["root"].hex() for _, each in facts.commitments.get((key, told["epoch"]), [])]
        facts.need(member["nonce_root"] in roots + ["00" * 32], f"{where}: {key} committed to its nonce root")
    left_out = {each["key"] for each in told["left_out"]}
    facts.need(left_out == set(sums) - set(keys), f"{where}: left_out are those with power that are no members")
    for each in told["left_out"]:
        reason = "not among the strongest 60" if len(keys) == 60 else "no nonce root for the epoch"
        facts.need(each["reason"] == reason, f"{where}: {each['key']} is left out because {reason}")


def moments(facts, chain, epoch, at):
    """Hub blocks that can fix a set of another chain: the first certificate in the epoch before, or governance resumes; and
    for its first set the block at which the power of keys with a root for the epoch reaches the minimum."""
    certificates = [(height, int.from_bytes(each["ballot"][32:40], "big")) for height, _, each in facts.log.all("certificate")
                    if each["ballot"][:32] == facts.contexts[chain]]
    before = [height for height, of in certificates if of // facts.terms[chain]["epoch_length"] == epoch - 1]
    if certificates and certificates[0][0] <= at:
        return before[:1] + [height for height, _ in facts.log.resumes if before and height >= before[0]]

    def ready(height):
        committed = {key for (key, of), all in facts.commitments.items() if of == epoch and all[0][0][0] <= height}
        sums = power(facts, height)
        eligible = sum(sat for key, sat in sums.items() if key in committed and facts.fps[key]["chain"] == chain)
        return eligible >= facts.terms[chain]["minimum_power"]

    return [at] if ready(at) and not ready(at - 1) else []


def votes(facts, where, entry, ballot, terms):
    members = {member["key"]: member for member in entry["set"]["members"]}
    size, index = terms["epoch_length"] // terms["voted_every"], entry["height"] % terms["epoch_length"] // terms["voted_every"]
    for j, vote in enumerate(entry["votes"]):
        who = f"{where}/votes/{j}"
        facts.need(vote["key"] in members, f"{who}: a member votes")
        facts.need(vote["leaves"] == size and vote["index"] == index, f"{who}: the nonce is number {index} of {size}")
        top = climb(leaf(bytes.fromhex(vote["R"])), index, size, [bytes.fromhex(each) for each in vote["path"]])
        facts.need(top is not None and top.hex() == members[vote["key"]]["nonce_root"], f"{who}: the path leads to the member's root")
        facts.need(signed(vote["key"], vote["R"], vote["s"], ballot), f"{who}: the signature")
    voters = {vote["key"] for vote in entry["votes"]}
    facts.need(len(voters) == len(entry["votes"]), f"{where}: nobody votes twice")
    voted, total = sum(members[key]["sat"] for key in voters), sum(member["sat"] for member in members.values())
    facts.need(3 * voted > 2 * total, f"{where}: {voted} of {total} sat voted, more than two thirds")


def signed(key, nonce, s, message):
    return verifies(bytes.fromhex(key), sha256(message), bytes.fromhex(nonce + s))


def climb(at, index, size, path):
    """Section 1.4, from the leaf up. None if a node is missing or left over."""
    path = list(path)
    while size > 1:
        if index % 2 == 1 or index + 1 < size:
            if not path:
                return None
            sibling = path.pop(0)
            at = node(sibling, at) if index % 2 else node(at, sibling)
        index, size = index // 2, (size + 1) // 2
    return None if path else at


def equivocations(facts):
    """Two messages under one nonce: the secret follows, owns the key, and no later set holds it."""
    out = {}
    for i, entry in enumerate(facts.report["equivocations"]):
        where, key = f"equivocations/{i}", bytes.fromhex(entry["key"])
        sides = [(bytes.fromhex(side["message"]), bytes.fromhex(side["s"])) for side in (entry["a"], entry["b"])]
        facts.need(sides[0][0] != sides[1][0], f"{where}: the messages differ")
        start = facts.contexts[entry["chain"]] + u64(entry["height"])
        for side in (entry["a"], entry["b"]):
            message = bytes.fromhex(side["message"])
            facts.need(message[:40] == start, f"{where}: the message is of the chain and height")
            facts.need(signed(entry["key"], entry["R"], side["s"], message), f"{where}: both signatures verify")
        secret = eots_extract(key, bytes.fromhex(entry["R"]), *sides)
        facts.need(entry["secret"] == secret.hex(), f"{where}: the secret follows from the signatures")
        facts.need(even(int(entry["secret"], 16))[1] == key, f"{where}: the secret owns the key")
        known = [(height, each["key"]) for height, _, each in facts.log.all("evidence")]
        facts.need((entry["hub_height"], key) in known, f"{where}: hub_height is that of the evidence in the log")
        out[entry["key"]] = entry["hub_height"]
    for i, entry in enumerate(facts.report["finality"]):
        for member in entry["set"]["members"]:
            late = member["key"] in out and entry["set"]["snapshot_hub_height"] >= out[member["key"]]
            facts.need(not late, f"finality/{i}: the set holds {member['key']}, which was out")
