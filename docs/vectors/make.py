"""Writes vectors.json: values of docs/protocol.md, made from that page alone, in plain Python 3 (standard library only).

    python3 make.py

The tests of `protocol` compare every entry with the Rust code. Hex throughout; secrets are SHA-256 of the names beside them."""

import json
import pathlib

from log import log
from sample import *


def contexts():
    chains = [("zero", HUB, 0), ("demo", DEMO_GENESIS, 0), ("demo", DEMO_GENESIS, 7)]
    return [
        {"chain": name, "genesis": genesis.hex(), "incarnation": incarnation, "purpose": purpose}
        | {"context": context(HUB, MAGIC, name, genesis, incarnation, purpose).hex()}
        for name, genesis, incarnation in chains
        for purpose in range(1, 9)
    ]


def trees():
    found = []
    for size in [0, 1, 2, 3, 4, 5, 7, 8, 11, 13]:
        leaves = [leaf(u32(i)) for i in range(size)]
        choices = {(0, size - 1), tuple(range(0, size, 3)), tuple(range(size)), (size // 2,)}
        picks = sorted({tuple(sorted(set(choice))) for choice in choices}) if size else []
        found.append(
            {
                "leaves": [u32(i).hex() for i in range(size)],
                "root": root(leaves).hex(),
                "paths": [[step.hex() for step in path(leaves, i)] for i in range(size)],
                "multi": [{"picks": p, "missing": [m.hex() for m in multi_proof(leaves, p)]} for p in picks],
            }
        )
    return found


def nonces():
    found = []
    for name, height in [("fp 0", 0), ("fp 0", 5), ("fp 1", 5), ("fp 2", 2**63), ("fp 3", 100)]:
        seed, message = sha256(f"seed of {name}".encode()), u64(height) + b"a message"
        nonce = derive_nonce(secret(name), seed, demo(1), height)
        first, second = (eots_sign(secret(name), nonce, m) for m in (message, b"another"))
        extracted = eots_extract(key(name), nonce[1], (message, first), (b"another", second))
        found.append(
            {"name": name, "key": key(name).hex(), "seed": seed.hex(), "context": demo(1).hex(), "height": height}
            | {"nonce": nonce[1].hex(), "message": message.hex(), "signature": first.hex()}
            | {"other_message": b"another".hex(), "other_signature": second.hex(), "extracted": extracted.hex()}
        )
    return found


def adaptors():
    message = sha256(b"a sighash")
    found = []
    for signer, owner in [(f"covenant {i}", f"fp {j}") for i in range(3) for j in range(2)]:
        signature = adaptor_sign(secret(signer), key(owner), message)
        found.append(
            {"signer": signer, "owner": owner, "sighash": message.hex(), "adaptor": signature.hex()}
            | {"decrypted": adaptor_decrypt(signature, secret(owner)).hex()}
        )
    return found

# Stakes


def output(kind, keys, lock):
    made = Output(kind, keys, lock)
    leaves = {
        name: {"script": code.hex(), "hash": leaf_hash(code).hex(), "control": made.control[name].hex()}
        for name, code in made.leaves.items()
    }
    return {"script_pubkey": made.script.hex(), "descriptor": made.descriptor, "leaves": leaves}


def outputs():
    found = []
    for providers, members, quorum, lock, unbonding in [
        (1, 1, 1, 1, 16),
        (1, 3, 2, 17, 127),
        (2, 3, 2, 1_000, 144),
        (8, 20, 17, 65_535, 1_008),
    ]:
        providers = [key(f"fp {i}") for i in range(providers)]
        committee = [key(f"covenant {i}") for i in range(members)]
        keys = Keys(key("holder"), providers, committee, quorum)
        found.append(
            {"staker": key("holder").hex(), "providers": [key.hex() for key in providers]}
            | {"covenant": [key.hex() for key in committee], "quorum": quorum}
            | {"lock": lock, "unbonding_blocks": unbonding}
            | {"staking": output("staking", keys, lock), "unbonding": output("unbonding", keys, unbonding)}
            | {"change": output("change", keys, unbonding)}
        )
    return found


def told(tx):
    return {"bytes": tx.bytes.hex(), "txid": tx.txid[::-1].hex()}


def bumpable(sample):
    """What the other profile makes of the same stake."""
    params = PARAMS | {"profile": "bumpable"}
    transactions, sighashes = sample.presigned(params)
    names = ["unbonding", "slashing", "unbonding_slashing"]
    transactions = {name: told(tx) for name, tx in zip(names, transactions)}
    return {"params": params, "transactions": transactions, "sighashes": [sighash.hex() for sighash in sighashes]}


def stake():
    sample = Sample()
    registration = sample.registration()
    stake_id = tagged("palisade/1/message", registration)
    old = sha256(b"an older stake")
    intent = sample.intent()
    message, refusal = sample.refusal(stake_id, "covenant 1", "the payout is on our list")
    transactions = {name: told(tx) for name, tx in vars(sample).items() if isinstance(tx, Tx)}
    return {
        "params": PARAMS,
        "chains": [sample.chains[provider] for provider in sample.keys.providers],
        "header": sample.header.hex(),
        "registration": registration.hex(),
        "id": stake_id.hex(),
        "transactions": transactions,
        "sighashes": [sighash.hex() for sighash in sample.sighashes],
        "bumpable": bumpable(sample),
        "intent": intent,
        "intent_message": tagged("palisade/1/intent", zero(5) + intent.encode()).hex(),
        "expands": old.hex(),
        "expansion_intent": sample.intent(old),
        "answer": sample.answer(stake_id, "covenant 0").hex(),
        "refusal": refusal.hex(),
        "refusal_message": message.hex(),
        "slashing_witness": [item.hex() for item in sample.witness(["covenant 0", "covenant 2"], "fp 1")],
    }


def provider():
    sample = Sample()
    found = []
    for name, vout, bls in [("fp 0", 2, (BLS_KEY, BLS_POSSESSION)), ("fp 1", 3, None)]:
        note, message, registration = sample.provider(name, vout, bls)
        found.append({"text": note, "message": message.hex(), "registration": registration.hex()})
    return {"header": sample.header.hex(), "cases": found}

# Finality

DEMO = (demo, 3, 250, 65, {"fp 0": 40_000, "fp 1": 30_000, "fp 2": 20_000, "fp 3": 10_001})
BLOCK = sha256(b"a block")


def finality():
    epoch = Epoch(*DEMO)
    message, commitment = epoch.commitment("fp 1")
    voters = ["fp 0", "fp 1", "fp 3"]
    return {
        "terms": TERMS,
        "commitment_context": demo(2).hex(),
        "nonces": [nonce[1].hex() for nonce in epoch.nonces["fp 1"]],
        "commitment_message": message.hex(),
        "commitment": commitment.hex(),
        "members": [member.hex() for member in epoch.members],
        "member_leaves": [data.hex() for data in epoch.member_leaves],
        "nonce_leaves": [data.hex() for data in epoch.nonce_leaves],
        "expiry": epoch.expiry,
        "set_header": epoch.header.hex(),
        "set_hash": tagged("palisade/1/set", epoch.header).hex(),
        "vote_message": epoch.ballot(BLOCK).hex(),
        "votes": [epoch.vote(name, BLOCK).hex() for name in voters],
        "certificate": epoch.certificate(voters, BLOCK).hex(),
        "too_weak": epoch.certificate(["fp 0", "fp 2"], BLOCK).hex(),
        "evidence": epoch.evidence("fp 2").hex(),
        "leaked_name": "fp 2",
        "leaked": (b"\x01" + key("fp 2") + scalar(secret("fp 2"))).hex(),
    }

# The hub


def governance():
    other = dict(PARAMS, from_height=500, k=7)
    actions = {
        "register_chain": REGISTER_DEMO,
        "set_params": b"\x01" + encode_params(other),
        "resume": b"\x02" + items([chain_id("zero") + u64(5_000), chain_id("demo") + u64(0)]),
        "rotate_keys": b"\x03" + governors(["governance 2", "governance 3", "governance 4"], 2),
        "recovery_root": b"\x04" + chain_id("zero") + u32(1) + maybe(u64(40) + BLOCK),
    }
    signers = {"rotate_keys": ["governance 0", "governance 2", "governance 4"]}
    two = ["governance 0", "governance 2"]
    return [
        {
            "action": name,
            "message": governance_message(i, action).hex(),
            "decision": decision(i, action, signers.get(name, two)).hex(),
        }
        for i, (name, action) in enumerate(actions.items())
    ]


def hub():
    epoch = Epoch(*DEMO)
    messages = [b"\x08" + epoch.commitment("fp 1")[1], b"\x0a" + epoch.evidence("fp 2")]
    messages.append(b"\x01" + items([Sample().header]))
    ids = [tagged("palisade/1/message", message) for message in messages]
    tip = double(Sample().header)
    header = u64(7) + sha256(b"previous") + root([leaf(name) for name in ids]) + sha256(b"state") + tip + u32(1)
    header_hash = tagged("palisade/1/header", header)
    signing = tagged("palisade/1/signed-header", zero(7) + header_hash)
    block = header + bip340(secret("hub"), signing) + items([blob(message) for message in messages])
    checkpoint = tagged("palisade/1/checkpoint", zero(3) + u64(4) + header_hash)
    return {
        "messages": [message.hex() for message in messages],
        "ids": [name.hex() for name in ids],
        "header": header.hex(),
        "header_hash": header_hash.hex(),
        "signing_message": signing.hex(),
        "block": block.hex(),
        "checkpoint_epoch": 4,
        "checkpoint_message": checkpoint.hex(),
        "batch_height": 8,
        "batch_count": 9,
        "batch_message": tagged("palisade/1/batch", zero(7) + u64(8) + sha256(b"state") + u32(9)).hex(),
        "anchor": (b"plsd\x01" + u64(4) + header_hash + b"\xa0\x40" + bls.sign(BLS_SECRET, checkpoint)).hex(),
        "anchor_signers": [0, 2, 9],
    }


def state():
    sizes = [1, 5, 2, 9, 3, 0, 4, 7, 6]
    sections = [[sha256(bytes([s, i])) for i in range(size)] for s, size in enumerate(sizes)]
    roots = [root([leaf(data) for data in section]) for section in sections]
    return {
        "sections": [[data.hex() for data in section] for section in sections],
        "section_roots": [section.hex() for section in roots],
        "root": root([leaf(section) for section in roots]).hex(),
    }


def encodings():
    """Small values, to read the rules of section 1.1 off."""
    return {
        "text": text("a ‖ b").hex(),
        "chain_id": chain_id("a-chain-0").hex(),
        "none": maybe(None).hex(),
        "some_u64": maybe(u64(5)).hex(),
        "list_u16": items([u16(1), u16(65_535)]).hex(),
        "script": script(bytes.fromhex("6a0870616c6973616465")).hex(),
        "outpoint": (sha256(b"a transaction") + u32(258)).hex(),
        "witness": blob(b"\x02\x00\x03abc").hex(),
    }

VECTORS = {
    "genesis": {"document": GENESIS, "bytes": encode_genesis(GENESIS).hex(), "hub": HUB.hex()},
    "contexts": contexts(),
    "encodings": encodings(),
    "trees": trees(),
    "nonces": nonces(),
    "adaptors": adaptors(),
    "outputs": outputs(),
    "stake": stake(),
    "provider": provider(),
    "finality": finality(),
    "governance": governance(),
    "hub": hub(),
    "state": state(),
    "log": log(),
}

if __name__ == "__main__":
    target = pathlib.Path(__file__).with_name("vectors.json")
    target.write_text(json.dumps(VECTORS, indent=1) + "\n")
