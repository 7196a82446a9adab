"""The shape of the report: which fields each section has, and how each is written. A `?` marks optional fields."""

import re


def hexes(size=None):
    pattern = re.compile(r"(?:[0-9a-f]{2})*" if size is None else r"[0-9a-f]{%d}" % (2 * size))
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def number(value):
    return type(value) is int and value >= 0


def word(value):
    return isinstance(value, str) and value != ""


def one_of(*words):
    return lambda value: isinstance(value, str) and value in words


def truth(value):
    return type(value) is bool


def outpoint(value):
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}:(0|[1-9][0-9]*)", value) is not None


HASH, BYTES, KEY = hexes(32), hexes(), hexes(32)
STATES = one_of(
    "PENDING", "VERIFIED", "ACTIVE", "ENDING", "UNBONDING", "EXPOSED", "WITHDRAWABLE", "WITHDRAWN", "EXPANDED",
    "SLASHED", "BREACHED", "REJECTED", "LAPSED",
)
LEAF = one_of("timelock", "unbonding", "slashing")
BLOCK = {"height": number, "hash": HASH}
MEMBER = {"key": KEY, "sat": number, "nonce_root": HASH, "bls?": hexes(96)}
VOTE = {"key": KEY, "R": HASH, "s": HASH, "index": number, "leaves": number, "path": [HASH]}
SET = {
    "hash": HASH, "epoch": number, "expiry": number, "snapshot_btc": BLOCK, "snapshot_hub_height": number,
    "members": [MEMBER], "left_out": [{"key": KEY, "reason": word}],
}
HEADER = {
    "height": number, "hash": HASH, "previous": HASH, "message_root": HASH, "state_root": HASH, "btc_tip": HASH,
    "btc_height": number,
}
PARAMS = {
    "id": number, "from_height": number, "k": number, "w": number, "covenant": [KEY], "quorum": number,
    "unbonding_blocks": number, "unbonding_fee": number, "slash_rate_bp": number, "slash_script": BYTES,
    "min_slash_fee": number, "profile": one_of("compatible"),
}
TX = {
    "txid": HASH, "kind": one_of("fund", "stake", "unbond", "slash", "withdraw", "expand", "anchor"), "stake?": HASH,
    "block?": HASH, "height?": number, "stale": truth, "leaf?": LEAF,
}
STAKE = {
    "id": HASH, "outpoint": outpoint, "sat": number, "staker": KEY, "fps": [KEY], "old_fps": [KEY], "params": number,
    "timelock": number, "leaves": {"timelock": BYTES, "unbonding": BYTES, "slashing": BYTES},
    "unbonding_txid": HASH, "slashing_txids": [HASH],
    "history": [{"state": STATES, "btc_height": number, "hub_height": number, "cause": HASH}],
}
SIGNED = {"message": hexes(72), "s": HASH}
REPORT = {
    "schema": number, "ok": truth, "commit": word, "ms": number,
    "node": {"datadir": word, "start": [word], "cli": [word], "version": word, "tip": BLOCK},
    "hub": {"id": HASH, "genesis": word, "log": word, "header": HEADER},
    "chains": [{"id": word, "zero": truth, "genesis": HASH, "incarnation": number, "context": HASH}],
    "params": [PARAMS],
    "fps": [{"key": KEY, "name": word, "chain": word, "bls?": hexes(96)}],
    "txs": [TX],
    "stakes": [STAKE],
    "finality": [{"chain": word, "height": number, "block": HASH, "set": SET, "votes": [VOTE]}],
    "equivocations": [{
        "key": KEY, "chain": word, "height": number, "R": HASH, "a": SIGNED, "b": SIGNED, "secret": HASH,
        "hub_height": number,
    }],
    "refusals": [{"fp": KEY, "height": number, "header": hexes(140), "expected_root": HASH, "message": HASH}],
    "anchors": [{
        "epoch": number, "header": HASH, "context": HASH, "payload": BYTES, "txid": HASH, "vout": number,
        "signers": [KEY],
    }],
    "timestamps": [{"digest": HASH, "file": word, "ots": word, "txid": HASH}],
    "reorgs": [{
        "fork_height": number, "old_tip": HASH, "new_tip": HASH, "removed": [HASH], "breaker": truth,
        "power": [{"btc_height": number, "hub_height": number, "key": KEY, "sat": number}],
    }],
    "refused": [{"tx": BYTES, "leaf": LEAF, "at_height": number, "reason": word}],
    "files": {"proof": word, "headers": word, "root": word},
    "steps": [{"n": word, "claim": word, "txs": [HASH], "refs": [word], "btc": [number], "ms": number}],
}


def check(report, need):
    """Every field is there, none besides, each written as it should be; `need` is told each fact."""
    match(need, report, REPORT, "report")
    need(report["schema"] == 1 and report["ok"], "schema is 1 and ok is true")


def match(need, value, shape, where):
    if isinstance(shape, list):
        need(isinstance(value, list), f"{where} is a list")
        for i, each in enumerate(value):
            match(need, each, shape[0], f"{where}/{i}")
    elif isinstance(shape, dict):
        need(isinstance(value, dict), f"{where} is an object")
        known = {name.rstrip("?") for name in shape}
        need(set(value) <= known, f"{where} has no field {sorted(set(value) - known)}")
        for name, inner in shape.items():
            if not name.endswith("?") or name.rstrip("?") in value:
                need(name.rstrip("?") in value, f"{where} has {name}")
                match(need, value[name.rstrip("?")], inner, f"{where}/{name.rstrip('?')}")
    else:
        need(shape(value), f"{where} is written as it should be: {value!r}")
