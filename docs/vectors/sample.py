"""The sample that the vectors are about: a hub on regtest, one stake, and an epoch of votes."""

import bls
from primitives import *
from stakes import *

OPERATOR = "An operator"
MAGIC = bytes.fromhex("fabfb5da")
REGTEST_GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61"
    "7fc81bc3888a51323a9fb8aa4b1e5e4adae5494dffff7f2002000000"
)
BLS_SECRET = bls.secret_key(sha256(b"bls fp 0"))
BLS_KEY, BLS_POSSESSION = bls.public_key(BLS_SECRET), bls.possession(BLS_SECRET)
GOVERNANCE = ["governance 2", "governance 0", "governance 1", "governance 0"]
COVENANT = ["covenant 2", "covenant 0", "covenant 1"]

PARAMS = {
    "from_height": 0,
    "k": 6,
    "w": 20,
    "covenant": [key(name).hex() for name in COVENANT],
    "quorum": 2,
    "unbonding_blocks": 244,
    "unbonding_fee_sat": 2_000,
    "slash_rate_bp": 1_000,
    "slash_script": "6a0870616c6973616465",
    "min_slash_fee_sat": 2_000,
    "min_stake_sat": 10_000,
    "max_stake_sat": 500_000_000_000,
    "min_lock_blocks": 300,
    "max_lock_blocks": 65_535,
    "lapse_blocks": 60,
    "set_lifetime_blocks": 100,
    "margin_blocks": 18,
    "profile": "compatible",
}
TERMS = {"epoch_length": 20, "voted_every": 5, "minimum_power_sat": 100_000}
GENESIS = {
    "network_magic": MAGIC.hex(),
    "base_headers": [REGTEST_GENESIS.hex()],
    "base_height": 0,
    "hub_key": key("hub").hex(),
    "governance": [key(name).hex() for name in GOVERNANCE],
    "governance_quorum": 2,
    "zero": TERMS,
    "nonce_roots_ahead": 64,
    "block_interval_ms": 200,
    "params": PARAMS,
}


def encode_params(p):
    out = u32(p["from_height"]) + u32(p["k"]) + u32(p["w"])
    out += items([bytes.fromhex(member) for member in p["covenant"]]) + u8(p["quorum"])
    out += u16(p["unbonding_blocks"]) + u64(p["unbonding_fee_sat"]) + u16(p["slash_rate_bp"])
    out += script(bytes.fromhex(p["slash_script"])) + u64(p["min_slash_fee_sat"])
    out += u64(p["min_stake_sat"]) + u64(p["max_stake_sat"])
    out += u16(p["min_lock_blocks"]) + u16(p["max_lock_blocks"])
    out += u32(p["lapse_blocks"]) + u32(p["set_lifetime_blocks"]) + u32(p["margin_blocks"])
    return out + u8({"compatible": 0, "bumpable": 1}[p["profile"]])


def encode_terms(terms):
    return u64(terms["epoch_length"]) + u64(terms["voted_every"]) + u64(terms["minimum_power_sat"])


def encode_genesis(g):
    out = bytes.fromhex(g["network_magic"]) + items([bytes.fromhex(header) for header in g["base_headers"]])
    out += u32(g["base_height"]) + bytes.fromhex(g["hub_key"])
    out += items(sorted({bytes.fromhex(member) for member in g["governance"]})) + u8(g["governance_quorum"])
    out += encode_terms(g["zero"]) + u32(g["nonce_roots_ahead"]) + u32(g["block_interval_ms"])
    return out + encode_params(g["params"])


HUB = tagged("palisade/1/hub", encode_genesis(GENESIS))
DEMO_GENESIS = sha256(b"demo genesis")


def zero(purpose):
    return context(HUB, MAGIC, "zero", HUB, 0, purpose)


def demo(purpose, incarnation=0):
    return context(HUB, MAGIC, "demo", DEMO_GENESIS, incarnation, purpose)


REGISTER_DEMO = b"\x00" + chain_id("demo") + DEMO_GENESIS + encode_terms(TERMS) + u64(2)


def governance_message(sequence, action):
    return tagged("palisade/1/governance", zero(6) + u64(sequence) + action)


def governors(names, quorum):
    return items(sorted({key(name) for name in names})) + u8(quorum)


def decision(sequence, action, signers=("governance 0", "governance 2")):
    """Signed by two of three."""
    signers = sorted(signers, key=key)
    message = governance_message(sequence, action)
    signatures = items([key(signer) + bip340(secret(signer), message) for signer in signers])
    return b"\x0d" + u64(sequence) + action + signatures


# A stake


class Sample:
    """One stake of two providers, backed by a coin of the holder's in a block on top of regtest's genesis."""

    LOCK, VALUE = 1_000, 1_000_005  # A tenth of it is a tie.

    def __init__(self):
        self.chains = {key("fp 0"): "zero", key("fp 1"): "demo"}
        committee = [key(name) for name in COVENANT]
        self.keys = Keys(key("holder"), list(self.chains), committee, PARAMS["quorum"])
        funding = [(900, b"\x51"), (2_000_000, p2tr_script("holder"))] + [(10_000, p2tr_script("holder"))] * 2
        self.funding = spend(sha256(b"somewhere"), 1, funding)
        self.header, self.block = next_block(REGTEST_GENESIS, 1, [self.funding])
        self.backing = self.funding.txid, 1
        self.transactions()

    def transactions(self):
        self.output = Output("staking", self.keys, self.LOCK)
        stake = (self.VALUE, self.output.script)
        self.staking = spend(*self.backing, [(700_000, p2tr_script("holder")), stake])
        transactions, self.sighashes = self.presigned(PARAMS)
        self.unbonding, self.slashing, self.unbonding_slashing = transactions

    def presigned(self, params):
        """The three transactions, and what is signed of each."""
        keys, staking = self.keys, self.output
        output = Output("unbonding", keys, params["unbonding_blocks"])
        unbonding = unbonding_tx(self.staking.txid, 1, self.VALUE, keys, params)
        slashing = slashing_tx(self.staking.txid, 1, self.VALUE, keys, params)
        unbonding_slashing = slashing_tx(unbonding.txid, 0, unbonding.outputs[0][0], keys, params)
        sighashes = [
            unbonding.sighash(0, [(self.VALUE, staking.script)], staking.leaves["unbonding"]),
            slashing.sighash(0, [(self.VALUE, staking.script)], staking.leaves["slashing"]),
            unbonding_slashing.sighash(0, unbonding.outputs[:1], output.leaves["slashing"]),
        ]
        return [unbonding, slashing, unbonding_slashing], sighashes

    def provider(self, name, vout, bls=None):
        """The text, the message that is signed, and the message of the log that registers a provider's key."""
        chain = self.chains[key(name)]
        note = f"Palisade finality provider\nhub: {HUB.hex()}\nchain: {chain}\nkey: {key(name).hex()}\n"
        signing_context = zero(4) if chain == "zero" else demo(4)
        bls_hash = sha256(bls[0]) if bls else bytes(32)
        outpoint = self.funding.txid + u32(vout)
        data = signing_context + key(name) + text(OPERATOR) + bls_hash + outpoint
        message = tagged("palisade/1/provider", data)
        out = b"\x02" + chain_id(chain) + key(name) + text(OPERATOR)
        out += maybe(bls and b"".join(bls)) + self.backed(vout, note)
        return note, message, out + bip340(secret(name), message)

    def payout(self):
        return p2tr_script("holder")

    def intent(self, expands=None):
        lines = ["Palisade stake", "network: regtest", f"hub: {HUB.hex()}"]
        lines += [f"stake: {self.staking.txid[::-1].hex()}:1", f"locked for: {self.LOCK} blocks"]
        lines += [f"expands: {expands.hex()}"] if expands else []
        lines += [f"power: {self.chains[provider]} {provider.hex()}" for provider in self.keys.providers]
        return "\n".join(lines + [f"payout: {self.payout().hex()}"]) + "\n"

    def fields(self, expands):
        out = blob(self.staking.bytes) + u32(1) + self.keys.staker + items(self.keys.providers) + items([])
        out += u16(self.LOCK)
        out += b"".join(blob(tx.bytes) for tx in (self.unbonding, self.slashing, self.unbonding_slashing))
        out += b"".join(bip340(secret("holder"), sighash) for sighash in self.sighashes[1:])
        return out + script(self.payout()) + maybe(expands)

    def registration(self):
        """The message with a backing."""
        return b"\x03" + self.fields(None) + b"\x00" + self.backed(1, self.intent())

    def backed(self, vout, note):
        """A backing by one of the outputs of the funding transaction."""
        proof = inclusion(self.header, self.block, 1)
        return proof + u32(vout) + blob(bip322_p2tr("holder", note.encode()))

    def answer(self, stake_id, member):
        def encrypted(sighash):
            return items([adaptor_sign(secret(member), owner, sighash) for owner in self.keys.providers])

        signed = b"\x00" + bip340(secret(member), self.sighashes[0])
        signed += encrypted(self.sighashes[1]) + encrypted(self.sighashes[2])
        return b"\x04" + stake_id + key(member) + signed

    def refusal(self, stake_id, member, reason):
        message = tagged("palisade/1/refusal", zero(8) + stake_id + reason.encode())
        refused = b"\x01" + text(reason) + bip340(secret(member), message)
        return message, b"\x04" + stake_id + key(member) + refused

    def witness(self, signers, owner):
        """Section 2.3, of the slashing: what is known once the provider's key is out."""
        names = {key(name): name for name in COVENANT + ["fp 0", "fp 1"]}
        sighash = self.sighashes[1]
        stack = []
        for member in reversed(self.keys.committee):
            signs = names[member] in signers
            adaptor = adaptor_sign(secret(names[member]), key(owner), sighash)
            stack.append(adaptor_decrypt(adaptor, secret(owner)) if signs else b"")
        for provider in reversed(self.keys.providers):
            stack.append(bip340(secret(owner), sighash) if provider == key(owner) else b"")
        stack.append(bip340(secret("holder"), sighash))
        return stack + [self.output.leaves["slashing"], self.output.control["slashing"]]


# Finality


class Epoch:
    """An epoch of a chain: its set, the nonces of its members, and votes at one height."""

    def __init__(self, of, number, expiry, height, powers, bls=()):
        self.of, self.number, self.expiry, self.height, self.powers = of, number, expiry, height, powers
        first, step = number * TERMS["epoch_length"], TERMS["voted_every"]
        self.heights = list(range(first, first + TERMS["epoch_length"], step))
        self.names = sorted(self.powers, key=key)
        self.nonces = {
            name: [derive_nonce(secret(name), self.seed(name), self.of(1), h) for h in self.heights]
            for name in self.names
        }
        self.members = [
            key(name) + u64(self.powers[name]) + dict(bls).get(name, bytes(32)) + root(self.leaves(name))
            for name in self.names
        ]
        self.member_leaves = [leaf(member[:72]) for member in self.members]
        self.nonce_leaves = [leaf(member[72:]) for member in self.members]
        header = self.of(1) + u64(self.number) + u32(self.expiry) + u16(len(self.members))
        self.header = header + u64(sum(self.powers.values())) + root(self.member_leaves) + root(self.nonce_leaves)

    def seed(self, name):
        return sha256(f"seed of {name}".encode())

    def leaves(self, name):
        return [leaf(nonce[1]) for nonce in self.nonces[name]]

    def ballot(self, block):
        return self.of(1) + u64(self.height) + block

    def nonce(self, name):
        return self.nonces[name][self.heights.index(self.height)]

    def signed(self, name, block):
        return eots_sign(secret(name), self.nonce(name), self.ballot(block))

    def proof(self, name):
        return items(path(self.leaves(name), self.heights.index(self.height)))

    def vote(self, name, block):
        return self.ballot(block) + key(name) + self.nonce(name)[1] + self.signed(name, block) + self.proof(name)

    def certificate(self, names, block):
        places = sorted(self.names.index(name) for name in names)
        voters = [
            u16(i) + self.members[i] + self.nonce(name)[1] + self.signed(name, block) + self.proof(name)
            for i, name in ((i, self.names[i]) for i in places)
        ]
        out = self.ballot(block) + self.header + items(voters)
        out += items(multi_proof(self.member_leaves, places))
        return out + items(multi_proof(self.nonce_leaves, places))

    def evidence(self, name):
        blocks = [sha256(b"a block"), sha256(b"another block")]
        sides = [self.ballot(block) + self.signed(name, block) for block in blocks]
        return b"\x00" + key(name) + self.nonce(name)[1] + b"".join(sides)

    def commitment(self, name):
        nonce_root = root(self.leaves(name))
        message = tagged("palisade/1/commitment", self.of(2) + u64(self.number) + nonce_root)
        return message, key(name) + u64(self.number) + nonce_root + bip340(secret(name), message)
