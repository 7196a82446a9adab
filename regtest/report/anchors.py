"""Claims about anchors and timestamps on Bitcoin (docs/protocol.md, section 9), and the files for an offline verifier."""

from proof import check as judge_proof
from proof import checkpoint_message
from transactions import parse
from wire import *

MAGIC = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94"
BITCOIN = bytes.fromhex("0588960d73d71901")


def anchors(facts):
    """The payload stands in the OP_RETURN and names the last voted header of its epoch; its set's quorum signed it."""
    terms = facts.terms["zero"]
    for i, entry in enumerate(facts.report["anchors"]):
        where = f"anchors/{i}"
        height = (entry["epoch"] + 1) * terms["epoch_length"] - terms["voted_every"]
        facts.need(height < len(facts.log.blocks), f"{where}: the log has come to the epoch's last voted height")
        head = facts.log.blocks[height].header["hash"]
        facts.need(entry["header"] == head.hex(), f"{where}: header is that of hub block {height}")
        checkpoint = context(facts.hub_id, facts.log.born["magic"], "zero", facts.hub_id, 0, 3)
        facts.need(entry["context"] == checkpoint.hex(), f"{where}: context is that of checkpoints")
        payload = bytes.fromhex(entry["payload"])
        found = facts.node.ask("getrawtransaction", entry["txid"], 1)
        facts.need(found, f"{where}: the node knows the transaction")
        script = parse(found["hex"]).outputs[entry["vout"]][1]
        facts.need(script == op_return(payload), f"{where}: the payload stands in output {entry['vout']}")
        told = {tx["txid"] for tx in facts.report["txs"] if tx["kind"] == "anchor"}
        facts.need(entry["txid"] in told, f"{where}: its transaction is in txs")
        final = [each for each in facts.report["finality"] if each["chain"] == "zero" and each["height"] == height]
        facts.need(final and final[0]["block"] == entry["header"], f"{where}: finality has the header's block")
        members = final[0]["set"]["members"]
        r = Reader(payload)
        facts.need(r.take(5) == b"plsd\x01" and r.number(8) == entry["epoch"], f"{where}: the payload is of the epoch")
        facts.need(r.take(32) == head, f"{where}: the payload names the header")
        bitmap = r.take((len(members) + 7) // 8)
        signature = r.take(48)
        r.end()
        bits = [j for j in range(8 * len(bitmap)) if bitmap[j // 8] & 0x80 >> j % 8]
        facts.need(bits and bits[-1] < len(members), f"{where}: spare bits are zero")
        facts.need(entry["signers"] == [members[j]["key"] for j in bits], f"{where}: signers are those of the bitmap")
        signed, total = sum(members[j]["sat"] for j in bits), sum(member["sat"] for member in members)
        facts.need(3 * signed > 2 * total, f"{where}: {signed} of {total} sat signed, more than two thirds")
        keys = tuple(bytes.fromhex(members[j]["bls"]) for j in bits)
        signed = bls.verify(keys, checkpoint_message(facts, entry["epoch"], head), signature)
        facts.need(signed, f"{where}: the signature of those signers")


def op_return(payload):
    push = bytes([len(payload)]) if len(payload) < 76 else b"\x4c" + bytes([len(payload)])
    return b"\x6a" + push + payload


def timestamps(facts):
    """The digest is the file's, and leads by its .ots through an anchor to a block of the best chain."""
    for i, entry in enumerate(facts.report["timestamps"]):
        where = f"timestamps/{i}"
        facts.need(sha256(facts.file(entry["file"])).hex() == entry["digest"], f"{where}: digest is the file's SHA-256")
        r = Reader(facts.file(entry["ots"]))
        facts.need(r.take(len(MAGIC)) == MAGIC and varuint(r) == 1, f"{where}: a timestamp file of version 1")
        facts.need(r.take(1) == b"\x08" and r.take(32).hex() == entry["digest"], f"{where}: the timestamp file is of the digest")
        ends, seen = [], set()
        walk(r, bytes.fromhex(entry["digest"]), ends, seen)
        r.end()
        facts.need(len(ends) > 0, f"{where}: the way ends at a Bitcoin block")
        for merkle_root, height in ends:
            head = facts.node.ask("getblockheader", facts.node.ask("getblockhash", height))
            facts.need(head["merkleroot"] == merkle_root[::-1].hex(), f"{where}: the way leads to block {height}")
        facts.need(bytes.fromhex(entry["txid"])[::-1] in seen, f"{where}: the way leads through the transaction")
        facts.need(any(entry["txid"] == each["txid"] for each in facts.report["anchors"]), f"{where}: which is an anchor")


def varuint(r):
    value, shift = 0, 0
    while True:
        byte = r.number(1)
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value


def walk(r, message, ends, seen):
    """OpenTimestamps' operations: all ways from a message on."""
    while True:
        seen.add(message)
        tag = r.number(1)
        if tag == 0xFF:
            walk(r, message, ends, seen)
        elif tag == 0x00:
            kind, payload = r.take(8), Reader(r.take(varuint(r)))
            if kind == BITCOIN:
                ends.append((message, varuint(payload)))
                payload.end()
            return
        elif tag == 0xF0:
            message = message + r.take(varuint(r))
        elif tag == 0xF1:
            message = r.take(varuint(r)) + message
        elif tag == 0x08:
            message = sha256(message)
        else:
            raise ValueError(f"operation {tag:02x} is none of ours")


def files(facts):
    """The trust root is the hub's, headers are the best chain's, and the proof leads from the one to the other."""
    files = facts.report["files"]
    proof, headers, trust = (facts.file(files[name]) for name in ("proof", "headers", "root"))
    born = facts.file(facts.report["hub"]["genesis"])
    facts.need(proof.startswith(born), "files/proof begins with the genesis document")
    first = Reader(proof[len(born) :]).number(4)
    facts.need(headers and len(headers) % 80 == 0, "files/headers holds headers of 80 bytes")
    for i in range(0, len(headers), 80):
        shown = double(headers[i : i + 80])[::-1].hex()
        facts.need(facts.node.ask("getblockhash", first + i // 80) == shown, f"files/headers: number {i // 80} is block {first + i // 80}")
    r = Reader(trust)
    facts.need(r.take(32) == facts.hub_id, "files/root names the hub")
    facts.need(r.number(4) == 0, "files/root is the root that the hub opened with")
    header = r.take(118)
    certified = [each["set"] for _, _, each in facts.log.all("certificate") if each["set"][:32] == facts.contexts["zero"]]
    facts.need(certified and certified[0] == header, "files/root names chain zero's first set")
    block, height = r.take(80), r.number(4)
    r.end()
    facts.need(facts.node.ask("getblockhash", height) == double(block)[::-1].hex(), "files/root names a block of Bitcoin's")
    expiry = int.from_bytes(header[40:44], "big")
    facts.need(expiry == height + facts.version_at(height)[1]["set_lifetime"], "files/root names the block at the set's snapshot")
    judge_proof(facts, proof[len(born) :], header, headers, first)
