#!/usr/bin/env python3
"""Makes the .ots fixtures of this directory with the standard library of OpenTimestamps.

    python3 -m venv venv && venv/bin/pip install opentimestamps==0.4.5
    venv/bin/python make.py           writes the fixtures and cases.json
    venv/bin/python make.py check F…  parses each file F and compares its bytes with what the library writes

Everything is derived from fixed strings, so a second run writes the same bytes.
"""

import hashlib
import io
import json
import os
import sys
import warnings

from bitcoin.core import COutPoint, CTransaction, CTxIn, CTxOut
from bitcoin.core.script import CScript, OP_0, OP_RETURN
from opentimestamps.core.notary import (
    BitcoinBlockHeaderAttestation,
    LitecoinBlockHeaderAttestation,
    PendingAttestation,
    UnknownAttestation,
)
from opentimestamps.core.op import (
    OpAppend,
    OpHexlify,
    OpKECCAK256,
    OpPrepend,
    OpReverse,
    OpRIPEMD160,
    OpSHA1,
    OpSHA256,
)
from opentimestamps.core.serialize import (
    BytesDeserializationContext,
    BytesSerializationContext,
    RecursionLimitError,
    StreamDeserializationContext,
)
from opentimestamps.core.timestamp import DetachedTimestampFile, Timestamp

HERE = os.path.dirname(os.path.abspath(__file__))
warnings.simplefilter("ignore")


def h(text):
    return hashlib.sha256(text.encode()).digest()


def written(stamp):
    ctx = BytesSerializationContext()
    DetachedTimestampFile(OpSHA256(), stamp).serialize(ctx)
    return ctx.getbytes()


def parsed(data):
    return DetachedTimestampFile.deserialize(BytesDeserializationContext(data))


def follow(stamp, *ops):
    for op in ops:
        stamp = stamp.ops.add(op)
    return stamp


def step(stamp, prefix, suffix):
    ops = [OpPrepend(prefix)] if prefix else []
    ops += [OpAppend(suffix)] if suffix else []
    return follow(stamp, *ops, OpSHA256())


def tree_path(stamp, index, size, siblings):
    """RFC 6962, from the leaf up; an odd node at the end of a level moves up unchanged."""
    stamp = step(stamp, b"\x00", b"")
    siblings = iter(siblings)
    while size > 1:
        if index & 1:
            stamp = step(stamp, b"\x01" + next(siblings), b"")
        elif index + 1 < size:
            stamp = step(stamp, b"\x01", next(siblings))
        index, size = index >> 1, (size + 1) >> 1
    assert next(siblings, None) is None
    return stamp


def anchored():
    """The whole way that our own files go: two trees, a header, the anchor, Bitcoin's tree."""
    stamp = start = Timestamp(h("digest"))
    trees = []
    for index, size, count in [(2, 5, 3), (4, 5, 1), (0, 1, 0), (6, 7, 2)]:
        siblings = [h(f"tree {size} {index} {i}") for i in range(count)]
        trees.append({"index": index, "size": size, "siblings": [s.hex() for s in siblings]})
        stamp = tree_path(stamp, index, size, siblings)
    prefix, suffix = b"header: ", b" and what follows"
    stamp = step(stamp, prefix, suffix)
    payload = b"plsd\x01" + (7).to_bytes(8, "big") + stamp.msg + b"\xf0" + bytes(48)
    tx = CTransaction(
        [CTxIn(COutPoint(h("coin"), 1))],
        [CTxOut(0, CScript([OP_RETURN, payload])), CTxOut(12345, CScript([OP_0, bytes(20)]))],
    )
    raw = tx.serialize()
    at = raw.index(stamp.msg)
    stamp = follow(step(stamp, raw[:at], raw[at + 32 :]), OpSHA256())
    assert stamp.msg == tx.GetTxid()
    siblings = [h(f"transaction {i}") for i in range(4)]
    position = 0b0110
    for i, sibling in enumerate(siblings):
        left, right = (sibling, b"") if position >> i & 1 else (b"", sibling)
        stamp = follow(step(stamp, left, right), OpSHA256())
    stamp.attestations.add(BitcoinBlockHeaderAttestation(1234))
    case = {
        "trees": trees,
        "prefix": prefix.hex(),
        "suffix": suffix.hex(),
        "transaction": raw.hex(),
        "position": position,
        "siblings": [s.hex() for s in siblings],
    }
    return start, [(1234, stamp.msg)], case


def pending():
    start = Timestamp(h("digest"))
    nonced = follow(start, OpAppend(h("nonce")[:16]), OpSHA256())
    for name in ["alice", "bob"]:
        stamp = follow(nonced, OpPrepend(bytes(4)), OpAppend(h(name)[:8]))
        stamp.attestations.add(PendingAttestation(f"https://{name}.calendar.example"))
    return start, [], {}


def forked():
    start = Timestamp(h("digest"))
    start.attestations.add(BitcoinBlockHeaderAttestation(700_000))
    start.attestations.add(PendingAttestation("https://alice.calendar.example"))
    start.attestations.add(LitecoinBlockHeaderAttestation(5))
    start.attestations.add(UnknownAttestation(b"\xffunknown", b"payload"))
    late = follow(start, OpSHA256())
    late.attestations.add(BitcoinBlockHeaderAttestation(300))
    left = follow(start, OpAppend(b"left"), OpSHA256())
    left.attestations.add(BitcoinBlockHeaderAttestation(600_000))
    return start, [(700_000, start.msg), (300, late.msg), (600_000, left.msg)], {}


def odd_ops():
    start = Timestamp(h("digest"))
    ops = [OpReverse(), OpHexlify(), OpRIPEMD160(), OpSHA1(), OpHexlify(), OpReverse(), OpSHA256()]
    end = follow(start, *ops)
    end.attestations.add(BitcoinBlockHeaderAttestation(0))
    return start, [(0, end.msg)], {}


def longest():
    """The largest argument and result that are allowed."""
    start = Timestamp(h("digest"))
    end = follow(start, OpAppend(bytes(4096 - 32)), OpSHA256(), OpAppend(bytes(2048 - 32)), OpHexlify(), OpSHA256())
    end.attestations.add(BitcoinBlockHeaderAttestation(2**32 - 1))
    return start, [(2**32 - 1, end.msg)], {}


def chain_of(ops):
    start = Timestamp(h("digest"))
    end = follow(start, *[OpSHA256()] * ops)
    end.attestations.add(BitcoinBlockHeaderAttestation(255))
    return start, [(255, end.msg)], {}


def keccak():
    start = Timestamp(h("digest"))
    follow(start, OpKECCAK256()).attestations.add(PendingAttestation("https://alice.calendar.example"))
    return start, [], {}


def make():
    cases = {}
    for name, (start, bitcoin, inputs) in {
        "anchored": anchored(),
        "pending": pending(),
        "forked": forked(),
        "odd_ops": odd_ops(),
        "longest": longest(),
        "deepest": chain_of(255),
        "too_deep": chain_of(256),
        "keccak": keccak(),
    }.items():
        data = written(start)
        if name == "too_deep":
            try:
                parsed(data)
                raise AssertionError("the library reads 256 operations in a row")
            except RecursionLimitError:
                pass
        else:
            assert written(parsed(data).timestamp) == data, name
        with open(os.path.join(HERE, name + ".ots"), "wb") as out:
            out.write(data)
        roots = [{"height": height, "merkle_root": root.hex()} for height, root in bitcoin]
        cases[name] = {"digest": start.msg.hex(), "bitcoin": roots, **inputs}
    with open(os.path.join(HERE, "cases.json"), "w") as out:
        json.dump(cases, out, indent=1)
        out.write("\n")
    print("wrote", len(cases), "files")


def check(paths):
    for path in paths:
        with open(path, "rb") as file:
            data = file.read()
        found = DetachedTimestampFile.deserialize(StreamDeserializationContext(io.BytesIO(data)))
        assert written(found.timestamp) == data, f"{path}: the library writes other bytes"
        print(path, "is byte for byte what the library writes")


if sys.argv[1:2] == ["check"]:
    check(sys.argv[2:])
else:
    make()
