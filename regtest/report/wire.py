"""Decoders for docs/protocol.md, sections 1.1, 4.2, 5 and 7, and for Bitcoin's transactions; and BIP-340 verification."""

import sys
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs" / "vectors"))

import bls  # noqa: E402, F401
from primitives import *  # noqa: E402
from stakes import Keys, Output, double, le32, le64, leaf_hash, slashing_tx, unbonding_tx  # noqa: E402


class Reader:
    """Bytes, read from the front. What is left over at the end is an error."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("bytes end inside a value")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size, order="big"):
        return int.from_bytes(self.take(size), order)

    def blob(self):
        return self.take(self.number(4))

    def text(self):
        return self.blob().decode()

    def chain(self):
        return self.take(self.number(1)).decode()

    def maybe(self, read):
        return {0: lambda: None, 1: read}[self.number(1)]()

    def items(self, read):
        return [read() for _ in range(self.number(2))]

    def hashes(self):
        return self.items(lambda: self.take(32))

    def compact(self):
        first = self.number(1)
        return first if first < 253 else self.number({253: 2, 254: 4, 255: 8}[first], "little")

    def script(self):
        return Reader(self.blob()).var_bytes()

    def var_bytes(self):
        return self.take(self.compact())

    def end(self):
        if self.at != len(self.data):
            raise ValueError(f"{len(self.data) - self.at} bytes follow a value")

    def rest(self):
        return self.take(len(self.data) - self.at)


class Transaction:
    """Inputs are (txid, vout, scriptSig, sequence), outputs (value, script); txids in internal order."""

    def __init__(self, raw):
        r = Reader(raw)
        self.version = r.number(4, "little")
        segwit = raw[4] == 0
        if segwit:
            r.take(2)
        self.inputs = [self.read_input(r) for _ in range(r.compact())]
        self.outputs = [(r.number(8, "little"), r.var_bytes()) for _ in range(r.compact())]
        stacks = [[r.var_bytes() for _ in range(r.compact())] for _ in self.inputs] if segwit else []
        self.witnesses = stacks or [[] for _ in self.inputs]
        self.locktime = r.number(4, "little")
        r.end()
        self.id = double(self.stripped())
        self.txid = self.id[::-1].hex()

    @staticmethod
    def read_input(r):
        return r.take(32), r.number(4, "little"), r.var_bytes(), r.number(4, "little")

    def stripped(self):
        ins = [t + le32(n) + compact(len(sig)) + sig + le32(seq) for t, n, sig, seq in self.inputs]
        outs = [le64(value) + compact(len(script)) + script for value, script in self.outputs]
        body = compact(len(ins)) + b"".join(ins) + compact(len(outs)) + b"".join(outs)
        return le32(self.version) + body + le32(self.locktime)

    def is_coinbase(self):
        return [each[:2] for each in self.inputs] == [(bytes(32), 0xFFFFFFFF)]

    def spends(self):
        return [f"{txid[::-1].hex()}:{vout}" for txid, vout, _, _ in self.inputs]

    def sighash(self, index, spent, leaf_script=None):
        """SIGHASH_DEFAULT by a leaf (BIP-342), else by the key (BIP-341); `spent` are the outputs that all inputs spend."""
        message = b"\x00\x00" + le32(self.version) + le32(self.locktime)
        message += sha256(b"".join(txid + le32(vout) for txid, vout, _, _ in self.inputs))
        message += sha256(b"".join(le64(value) for value, _ in spent))
        message += sha256(b"".join(compact(len(script)) + script for _, script in spent))
        message += sha256(b"".join(le32(seq) for _, _, _, seq in self.inputs))
        message += sha256(b"".join(le64(v) + compact(len(script)) + script for v, script in self.outputs))
        message += (b"\x02" if leaf_script else b"\x00") + le32(index)
        if leaf_script:
            message += leaf_hash(leaf_script) + b"\x00" + b"\xff" * 4
        return tagged("TapSighash", message)


# BIP-340


@lru_cache(maxsize=None)
def doubles(point):
    """The point times 1, 2, 4, … 2^255."""
    steps = [point]
    while len(steps) < 256:
        steps.append(add(steps[-1], steps[-1]))
    return steps


def times(k, point):
    result = None
    for i, step in enumerate(doubles(point)):
        if k >> i & 1:
            result = add(result, step)
    return result


@lru_cache(maxsize=None)
def verifies(public, message, signature):
    """Whether 64 bytes are the key's BIP-340 signature over a message."""
    s = int.from_bytes(signature[32:], "big")
    if len(signature) != 64 or s >= ORDER:
        return False
    try:
        point = lift_x(public)
    except AssertionError:
        return False
    e = challenge(signature[:32], public, message)
    r = add(times(s, G), times((ORDER - e) % ORDER, point))
    return r is not None and r[1] % 2 == 0 and x_of(r) == signature[:32]


# Pieces of messages


def inclusion(r):
    proof = {"block": r.take(32), "tx": Transaction(r.blob()), "index": r.number(4), "path": r.hashes()}
    proof["coinbase"], proof["coinbase_path"] = Transaction(r.blob()), r.hashes()
    return proof


def included(proof, merkle_root):
    """Whether an inclusion proof leads to a block's Merkle root: section 4.2."""
    tx, coinbase = proof["tx"], proof["coinbase"]
    shape = len(proof["path"]) == len(proof["coinbase_path"]) <= 32 and len(tx.stripped()) != 64
    shape = shape and not any(tx.witnesses + coinbase.witnesses)
    kinds = coinbase.is_coinbase() and tx.is_coinbase() == (proof["index"] == 0)
    ways = [(coinbase.id, 0, proof["coinbase_path"]), (tx.id, proof["index"], proof["path"])]
    return shape and kinds and all(merkle_top(*each) == merkle_root for each in ways)


def merkle_top(at, index, path):
    """Where a path leads; nowhere if the index is beyond the tree or a right child repeats its sibling."""
    for sibling in path:
        if index % 2 and sibling == at:
            return None
        at, index = double(sibling + at if index % 2 else at + sibling), index // 2
    return at if index == 0 else None


def backing(r):
    return {"proof": inclusion(r), "vout": r.number(4), "witness": r.blob()}


def terms(r):
    return {"epoch_length": r.number(8), "voted_every": r.number(8), "minimum_power": r.number(8)}


def params(r):
    out = {"from_height": r.number(4), "k": r.number(4), "w": r.number(4)}
    out |= {"covenant": r.hashes(), "quorum": r.number(1), "unbonding_blocks": r.number(2)}
    out |= {"unbonding_fee": r.number(8), "slash_rate_bp": r.number(2), "slash_script": r.script()}
    out["min_slash_fee"] = r.number(8)
    out |= {"min_stake": r.number(8), "max_stake": r.number(8), "min_lock": r.number(2), "max_lock": r.number(2)}
    out |= {"lapse": r.number(4), "set_lifetime": r.number(4), "margin": r.number(4)}
    out["profile"] = {0: "compatible", 1: "bumpable"}[r.number(1)]
    return out


def genesis(data):
    r = Reader(data)
    out = {"magic": r.take(4), "base_headers": r.items(lambda: r.take(80)), "base_height": r.number(4)}
    out |= {"hub_key": r.take(32), "governance": r.hashes(), "quorum": r.number(1), "zero": terms(r)}
    out |= {"roots_ahead": r.number(4), "interval_ms": r.number(4), "params": params(r)}
    r.end()
    return out


def header(data):
    """A hub header, section 8.1."""
    r = Reader(data)
    out = {"height": r.number(8), "previous": r.take(32), "message_root": r.take(32), "state_root": r.take(32)}
    out |= {"btc_tip": r.take(32), "btc_height": r.number(4), "hash": tagged("palisade/1/header", data)}
    r.end()
    return out


# Messages, section 5.1: those that the report is about


def stake(r):
    out = {"tx": Transaction(r.blob()), "vout": r.number(4), "staker": r.take(32)}
    out |= {"fps": r.hashes(), "old_fps": r.hashes(), "lock": r.number(2)}
    out["presigned"] = [Transaction(r.blob()) for _ in range(3)]
    out |= {"signatures": [r.take(64), r.take(64)], "payout": r.script()}
    out["expands"] = r.maybe(lambda: r.take(32))
    if r.number(1):
        out |= {"inclusion": inclusion(r), "signature": r.take(64)}
    else:
        out["backing"] = backing(r)
    return out


def provider(r):
    out = {"chain": r.chain(), "key": r.take(32), "operator": r.text()}
    out["bls"] = r.maybe(lambda: (r.take(96), r.take(48)))
    return out | {"backing": backing(r), "signature": r.take(64)}


def answer(r):
    out = {"stake": r.take(32), "member": r.take(32), "signed": r.number(1) == 0}
    return out | {"rest": r.rest()}


def governance(r):
    out = {"sequence": r.number(8), "action": r.number(1)}
    if out["action"] == 0:
        out |= {"chain": r.chain(), "genesis": r.take(32), "terms": terms(r), "first_epoch": r.number(8)}
    if out["action"] == 1:
        out["params"] = params(r)
    return out | {"rest": r.rest()}


def voter(r):
    return {"index": r.number(2), "member": r.take(104), "R": r.take(32), "s": r.take(32), "path": r.hashes()}


def certificate(r):
    """Section 7.4; a member begins with its key."""
    out = {"ballot": r.take(72), "set": r.take(118), "voters": r.items(lambda: voter(r))}
    return out | {"members": r.hashes(), "nonces": r.hashes()}


def evidence(r):
    return {"variant": r.number(1), "key": r.take(32), "rest": r.rest()}


MESSAGES = {
    1: ("headers", lambda r: {"headers": r.items(lambda: r.take(80))}),
    2: ("provider", provider),
    3: ("stake", stake),
    4: ("answer", answer),
    5: ("consent", lambda r: {"rest": r.rest()}),
    6: ("included", lambda r: {"stake": r.take(32), "inclusion": inclusion(r)}),
    7: ("spent", lambda r: {"stake": r.take(32), "outpoint": r.take(36), "inclusion": inclusion(r)}),
    8: ("commitment", lambda r: {"key": r.take(32), "epoch": r.number(8), "root": r.take(32), "signature": r.take(64)}),
    9: ("certificate", certificate),
    10: ("evidence", evidence),
    11: ("anchor", lambda r: {"inclusion": inclusion(r)}),
    13: ("governance", governance),
}


def message(data):
    """Name and content of a message; messages that this checker does not read keep their number as name."""
    name, read = MESSAGES.get(data[0], (str(data[0]), lambda r: {"rest": r.rest()}))
    r = Reader(data[1:])
    content = read(r)
    r.end()
    return name, content
