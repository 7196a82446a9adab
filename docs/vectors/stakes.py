"""Scripts, outputs, transactions and wallet signatures of docs/protocol.md, sections 2, 3.6 and 4.2."""

from primitives import *

NUMS = bytes.fromhex("50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0")
FINAL = 0xFFFFFFFF


def double(data):
    return sha256(sha256(data))


def le32(n):
    return n.to_bytes(4, "little")


def le64(n):
    return n.to_bytes(8, "little")


# Scripts


def push_number(n):
    if n <= 16:
        return bytes([0x50 + n])
    data = n.to_bytes((n.bit_length() + 8) // 8, "little")
    return bytes([len(data)]) + data


def multi(keys, quorum, verify=False):
    if len(keys) == 1:
        return b"\x20" + keys[0] + (b"\xad" if verify else b"\xac")
    checks = [b"\x20" + key + (b"\xba" if i else b"\xac") for i, key in enumerate(keys)]
    return b"".join(checks) + push_number(quorum) + (b"\x9d" if verify else b"\x9c")


class Keys:
    """The keys of a stake, each list in ascending order."""

    def __init__(self, staker, providers, committee, quorum):
        self.staker, self.quorum = staker, quorum
        self.providers, self.committee = sorted(providers), sorted(committee)

    def timelock(self, lock):
        return b"\x20" + self.staker + b"\xad" + push_number(lock) + b"\xb2"

    def unbonding(self):
        return b"\x20" + self.staker + b"\xad" + multi(self.committee, self.quorum)

    def slashing(self):
        head = b"\x20" + self.staker + b"\xad" + multi(self.providers, 1, verify=True)
        return head + multi(self.committee, self.quorum)


# Outputs (BIP-341)


def leaf_hash(leaf_script):
    return tagged("TapLeaf", b"\xc0" + compact(len(leaf_script)) + leaf_script)


def branch(a, b):
    return tagged("TapBranch", min(a, b) + max(a, b))


def tweaked(internal, merkle_root):
    """The output key, and whether its y is odd."""
    tweak = int.from_bytes(tagged("TapTweak", internal + merkle_root), "big")
    point = add(lift_x(internal), multiply(tweak))
    return x_of(point), point[1] % 2


class Output:
    """Leaves in the order slashing, unbonding, timelock, with the path of each inside the output's tree."""

    def __init__(self, kind, keys, lock):
        scripts = {"slashing": keys.slashing(), "unbonding": keys.unbonding(), "timelock": keys.timelock(lock)}
        sl, ub, tl = (leaf_hash(scripts[name]) for name in ("slashing", "unbonding", "timelock"))
        if kind == "staking":
            inner = branch(ub, tl)
            self.root = branch(sl, inner)
            paths = {"slashing": [inner], "unbonding": [tl, sl], "timelock": [ub, sl]}
        elif kind == "unbonding":
            self.root = branch(sl, tl)
            paths = {"slashing": [tl], "timelock": [sl]}
        else:
            self.root, paths = tl, {"timelock": []}
        self.leaves = {name: scripts[name] for name in paths}
        self.key, parity = tweaked(NUMS, self.root)
        self.script = b"\x51\x20" + self.key
        self.control = {name: bytes([0xC0 + parity]) + NUMS + b"".join(path) for name, path in paths.items()}
        self.descriptor = f"tr({NUMS.hex()},{descriptor_tree(kind, keys, lock)})"


def descriptor_tree(kind, keys, lock):
    def some(group, quorum):
        names = ",".join(key.hex() for key in group)
        return f"pk({names})" if len(group) == 1 else f"multi_a({quorum},{names})"

    owner = f"v:pk({keys.staker.hex()})"
    committee = some(keys.committee, keys.quorum)
    sl = f"and_v({owner},and_v(v:{some(keys.providers, 1)},{committee}))"
    ub, tl = f"and_v({owner},{committee})", f"and_v({owner},older({lock}))"
    return {"staking": f"{{{sl},{{{ub},{tl}}}}}", "unbonding": f"{{{sl},{tl}}}", "change": tl}[kind]


# Transactions


class Tx:
    """Inputs are (txid, vout, sequence, scriptSig), outputs (value, script)."""

    def __init__(self, inputs, outputs, version=2):
        self.inputs, self.outputs, self.version = inputs, outputs, version
        parts = [txid + le32(vout) + compact(len(sig)) + sig + le32(seq) for txid, vout, seq, sig in inputs]
        outs = [le64(value) + compact(len(spk)) + spk for value, spk in outputs]
        body = compact(len(parts)) + b"".join(parts) + compact(len(outs)) + b"".join(outs)
        self.bytes = le32(version) + body + le32(0)
        self.txid = double(self.bytes)

    def sighash(self, index, spent, leaf_script=None):
        """BIP-341 with SIGHASH_DEFAULT; by a leaf (BIP-342) or, without one, by the key."""
        message = b"\x00\x00" + le32(self.version) + le32(0)
        message += sha256(b"".join(txid + le32(vout) for txid, vout, _, _ in self.inputs))
        message += sha256(b"".join(le64(value) for value, _ in spent))
        message += sha256(b"".join(compact(len(spk)) + spk for _, spk in spent))
        message += sha256(b"".join(le32(seq) for _, _, seq, _ in self.inputs))
        message += sha256(b"".join(le64(value) + compact(len(spk)) + spk for value, spk in self.outputs))
        message += (b"\x02" if leaf_script else b"\x00") + le32(index)
        if leaf_script:
            message += leaf_hash(leaf_script) + b"\x00" + b"\xff" * 4
        return tagged("TapSighash", message)


def spend(txid, vout, outputs):
    return Tx([(txid, vout, FINAL, b"")], outputs)


def presigned(txid, vout, value, fee, outputs, profile):
    """The last of the outputs, a script, holds what the others, the fee and the profile leave."""
    *others, last = outputs
    bump = [(240, bytes.fromhex("51024e73"))] if profile == "bumpable" else []
    left = value - fee - sum(output[0] for output in others + bump)
    return Tx([(txid, vout, FINAL, b"")], others + [(left, last)] + bump, version=3 if bump else 2)


def unbonding_tx(txid, vout, value, keys, params):
    output = Output("unbonding", keys, params["unbonding_blocks"])
    return presigned(txid, vout, value, params["unbonding_fee_sat"], [output.script], params["profile"])


def slashing_tx(txid, vout, value, keys, params):
    slashed = (value * params["slash_rate_bp"] + 5000) // 10000
    change = Output("change", keys, params["unbonding_blocks"])
    burned = (slashed, bytes.fromhex(params["slash_script"]))
    fee = params["min_slash_fee_sat"]
    return presigned(txid, vout, value, fee, [burned, change.script], params["profile"])


# Wallet signatures: BIP-322 simple, p2tr by the key path


def p2tr_script(name):
    return b"\x51\x20" + tweaked(key(name), b"")[0]


def bip322_p2tr(name, message):
    """The witness stack, in consensus serialisation."""
    spk = p2tr_script(name)
    commit = b"\x00\x20" + tagged("BIP0322-signed-message", message)
    to_spend = Tx([(bytes(32), FINAL, 0, commit)], [(0, spk)], version=0)
    to_sign = Tx([(to_spend.txid, 0, 0, b"")], [(0, b"\x6a")], version=0)
    d, internal = even(secret(name))
    tweak = int.from_bytes(tagged("TapTweak", internal), "big")
    signature = bip340((d + tweak) % ORDER, to_sign.sighash(0, [(0, spk)]))
    return b"\x01\x40" + signature


# Blocks and inclusion


def mine(previous, merkle_root, time, bits):
    """A header of version 4 that meets the compact target."""
    target = (bits & 0x7FFFFF) << 8 * ((bits >> 24) - 3)
    nonce = 0
    while True:
        header = le32(4) + previous + merkle_root + le32(time) + le32(bits) + le32(nonce)
        if int.from_bytes(double(header), "little") <= target:
            return header
        nonce += 1


def inclusion(header, transactions, index):
    """Section 4.2, for a block of two transactions."""
    first, second = (tx.txid for tx in transactions)
    assert header[36:68] == double(first + second)
    proof = double(header) + blob(transactions[index].bytes) + u32(index)
    proof += items([[second, first][index]])
    return proof + blob(transactions[0].bytes) + items([second])


def next_block(parent, height, transactions):
    """A header on top of another, and its block: a coinbase and at most one transaction."""
    coinbase = Tx([(bytes(32), FINAL, FINAL, b"\x02" + height.to_bytes(2, "little"))], [(5_000_000_000, b"\x51")])
    block = [coinbase] + transactions
    merkle_root = double(b"".join(tx.txid for tx in block)) if transactions else coinbase.txid
    return mine(double(parent), merkle_root, 1_296_688_602 + height, 0x207FFFFF), block
