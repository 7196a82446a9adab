"""Writes vectors.json: values of docs/protocol.md, made from that page alone, in plain Python 3 (standard library only).

    python3 make.py

The tests of `protocol` compare every entry with the Rust code. Hex throughout; secrets are SHA-256 of the names beside them."""

import json
import pathlib

from primitives import *
from stakes import *

MAGIC = bytes.fromhex("fabfb5da")
REGTEST_GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61"
    "7fc81bc3888a51323a9fb8aa4b1e5e4adae5494dffff7f2002000000"
)
BLS_KEY = bytes.fromhex(  # The generator of G2, the key of the secret 1.
    "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
    "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
)
BLS_POINT = bytes.fromhex(  # The generator of G1: a point where a proof of possession stands.
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
)
GOVERNANCE = ["governance 2", "governance 0", "governance 1", "governance 0"]
COVENANT = ["covenant 2", "covenant 0", "covenant 1"]

PARAMS = {
    "from_height": 0,
    "k": 6,
    "w": 20,
    "covenant": [key(name).hex() for name in COVENANT],
    "quorum": 2,
    "unbonding_blocks": 144,
    "unbonding_fee_sat": 2_000,
    "slash_rate_bp": 1_000,
    "slash_script": "6a0870616c6973616465",
    "min_slash_fee_sat": 2_000,
    "min_stake_sat": 10_000,
    "max_stake_sat": 500_000_000_000,
    "min_lock_blocks": 200,
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


class Sample:
    """One stake of two providers, backed by a coin of the holder's in a block on top of regtest's genesis."""

    LOCK, VALUE = 1_000, 1_000_005  # A tenth of it is a tie.

    def __init__(self):
        self.chains = {key("fp 0"): "zero", key("fp 1"): "demo"}
        committee = [key(name) for name in COVENANT]
        self.keys = Keys(key("holder"), list(self.chains), committee, PARAMS["quorum"])
        coinbase = Tx([(bytes(32), FINAL, FINAL, b"\x51\x01\x00")], [(5_000_000_000, b"\x51")])
        funding = spend(sha256(b"somewhere"), 1, [(900, b"\x51"), (2_000_000, p2tr_script("holder"))])
        merkle_root = double(coinbase.txid + funding.txid)
        self.header = mine(double(REGTEST_GENESIS), merkle_root, 1_296_688_603, 0x207FFFFF)
        self.proof = inclusion(self.header, [coinbase, funding], 1)
        self.backing = funding.txid, 1
        self.transactions()

    def transactions(self):
        staking = Output("staking", self.keys, self.LOCK)
        unbonding = Output("unbonding", self.keys, PARAMS["unbonding_blocks"])
        stake = (self.VALUE, staking.script)
        self.staking = spend(*self.backing, [(700_000, p2tr_script("holder")), stake])
        unbonded = (self.VALUE - PARAMS["unbonding_fee_sat"], unbonding.script)
        self.unbonding = spend(self.staking.txid, 1, [unbonded])
        self.slashing = slashing_tx(self.staking.txid, 1, stake[0], self.keys, PARAMS)
        self.unbonding_slashing = slashing_tx(self.unbonding.txid, 0, unbonded[0], self.keys, PARAMS)
        self.output = staking
        self.sighashes = [
            self.unbonding.sighash(0, [stake], staking.leaves["unbonding"]),
            self.slashing.sighash(0, [stake], staking.leaves["slashing"]),
            self.unbonding_slashing.sighash(0, [unbonded], unbonding.leaves["slashing"]),
        ]

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
        witness = bip322_p2tr("holder", self.intent().encode())
        backing = self.proof + u32(self.backing[1]) + blob(witness)
        return b"\x03" + self.fields(None) + b"\x00" + backing

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


def stake():
    sample = Sample()
    registration = sample.registration()
    stake_id = tagged("palisade/1/message", registration)
    old = sha256(b"an older stake")
    intent = sample.intent()
    message, refusal = sample.refusal(stake_id, "covenant 1", "the payout is on our list")
    transactions = {
        name: {"bytes": tx.bytes.hex(), "txid": tx.txid[::-1].hex()}
        for name, tx in vars(sample).items()
        if isinstance(tx, Tx)
    }
    return {
        "params": PARAMS,
        "chains": [sample.chains[provider] for provider in sample.keys.providers],
        "header": sample.header.hex(),
        "registration": registration.hex(),
        "id": stake_id.hex(),
        "transactions": transactions,
        "sighashes": [sighash.hex() for sighash in sample.sighashes],
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
    operator, name = "An operator", "fp 1"
    outpoint = sample.backing[0] + u32(sample.backing[1])

    def message(chain_context, bls_hash):
        data = chain_context + key(name) + text(operator) + bls_hash + outpoint
        return tagged("palisade/1/provider", data)

    note = f"Palisade finality provider\nhub: {HUB.hex()}\nchain: demo\nkey: {key(name).hex()}\n"
    backing = sample.proof + u32(sample.backing[1]) + blob(bip322_p2tr("holder", note.encode()))
    signature = bip340(secret(name), message(demo(4), bytes(32)))
    registration = b"\x02" + chain_id("demo") + key(name) + text(operator) + maybe(None) + backing + signature
    return {
        "header": sample.header.hex(),
        "context": demo(4).hex(),
        "text": note,
        "message": message(demo(4), bytes(32)).hex(),
        "registration": registration.hex(),
        "bls_key": BLS_KEY.hex(),
        "bls_point": BLS_POINT.hex(),
        "zero_context": zero(4).hex(),
        "zero_message": message(zero(4), sha256(BLS_KEY)).hex(),
    }


# Finality


class Epoch:
    """Epoch 3 of the chain demo: four members, nonces of four voted heights each."""

    NUMBER, EXPIRY, HEIGHT = 3, 250, 65
    POWERS = {"fp 0": 40_000, "fp 1": 30_000, "fp 2": 20_000, "fp 3": 10_001}

    def __init__(self):
        first, step = self.NUMBER * TERMS["epoch_length"], TERMS["voted_every"]
        self.heights = list(range(first, first + TERMS["epoch_length"], step))
        self.names = sorted(self.POWERS, key=key)
        self.nonces = {
            name: [derive_nonce(secret(name), self.seed(name), demo(1), h) for h in self.heights]
            for name in self.names
        }
        self.members = [
            key(name) + u64(self.POWERS[name]) + bytes(32) + root(self.leaves(name)) for name in self.names
        ]
        self.member_leaves = [leaf(member[:72]) for member in self.members]
        self.nonce_leaves = [leaf(member[72:]) for member in self.members]
        header = demo(1) + u64(self.NUMBER) + u32(self.EXPIRY) + u16(len(self.members))
        self.header = header + u64(sum(self.POWERS.values())) + root(self.member_leaves) + root(self.nonce_leaves)

    def seed(self, name):
        return sha256(f"seed of {name}".encode())

    def leaves(self, name):
        return [leaf(nonce[1]) for nonce in self.nonces[name]]

    def ballot(self, block):
        return demo(1) + u64(self.HEIGHT) + sha256(block)

    def nonce(self, name):
        return self.nonces[name][self.heights.index(self.HEIGHT)]

    def signed(self, name, block):
        return eots_sign(secret(name), self.nonce(name), self.ballot(block))

    def proof(self, name):
        return items(path(self.leaves(name), self.heights.index(self.HEIGHT)))

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
        sides = [self.ballot(block) + self.signed(name, block) for block in (b"a block", b"another block")]
        return b"\x00" + key(name) + self.nonce(name)[1] + b"".join(sides)

    def commitment(self, name):
        nonce_root = root(self.leaves(name))
        message = tagged("palisade/1/commitment", demo(2) + u64(self.NUMBER) + nonce_root)
        return message, key(name) + u64(self.NUMBER) + nonce_root + bip340(secret(name), message)


def finality():
    epoch = Epoch()
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
        "expiry": epoch.EXPIRY,
        "set_header": epoch.header.hex(),
        "set_hash": tagged("palisade/1/set", epoch.header).hex(),
        "vote_message": epoch.ballot(b"a block").hex(),
        "votes": [epoch.vote(name, b"a block").hex() for name in voters],
        "certificate": epoch.certificate(voters, b"a block").hex(),
        "too_weak": epoch.certificate(["fp 0", "fp 2"], b"a block").hex(),
        "evidence": epoch.evidence("fp 2").hex(),
        "leaked_name": "fp 2",
        "leaked": (b"\x01" + key("fp 2") + scalar(secret("fp 2"))).hex(),
    }


# The hub


def governance():
    other = dict(PARAMS, from_height=500, k=7)
    actions = {
        "register_chain": b"\x00" + chain_id("demo") + DEMO_GENESIS + encode_terms(TERMS),
        "set_params": b"\x01" + encode_params(other),
        "resume": b"\x02" + items([chain_id("zero") + u64(5_000), chain_id("demo") + u64(0)]),
        "rotate_keys": b"\x03",
        "recovery_root": b"\x04",
    }
    found = []
    for sequence, (name, action) in enumerate(actions.items()):
        message = tagged("palisade/1/governance", zero(6) + u64(sequence) + action)
        signers = sorted(["governance 0", "governance 2"], key=key)
        signatures = items([key(signer) + bip340(secret(signer), message) for signer in signers])
        decision = b"\x0d" + u64(sequence) + action + signatures
        found.append({"action": name, "message": message.hex(), "decision": decision.hex()})
    return found


def hub():
    epoch = Epoch()
    messages = [b"\x08" + epoch.commitment("fp 1")[1], b"\x0a" + epoch.evidence("fp 2")]
    messages.append(b"\x01" + items([Sample().header]))
    ids = [tagged("palisade/1/message", message) for message in messages]
    tip = double(Sample().header)
    header = u64(7) + sha256(b"previous") + root([leaf(name) for name in ids]) + sha256(b"state") + tip + u32(1)
    header_hash = tagged("palisade/1/header", header)
    signing = tagged("palisade/1/signed-header", zero(7) + header_hash)
    block = header + bip340(secret("hub"), signing) + items([blob(message) for message in messages])
    return {
        "messages": [message.hex() for message in messages],
        "ids": [name.hex() for name in ids],
        "header": header.hex(),
        "header_hash": header_hash.hex(),
        "signing_message": signing.hex(),
        "block": block.hex(),
        "checkpoint_epoch": 4,
        "checkpoint_message": tagged("palisade/1/checkpoint", zero(3) + u64(4) + header_hash).hex(),
        "batch_count": 9,
        "batch_message": tagged("palisade/1/batch", zero(7) + sha256(b"state") + u32(9)).hex(),
    }


def state():
    sizes = [1, 5, 2, 9, 3, 0, 4, 7]
    sections = [[sha256(bytes([s, i])) for i in range(size)] for s, size in enumerate(sizes)]
    roots = [root([leaf(data) for data in section]) for section in sections]
    return {
        "sections": [[data.hex() for data in section] for section in sections],
        "section_roots": [section.hex() for section in roots],
        "root": root([leaf(section) for section in roots]).hex(),
    }


def first_block():
    """Block 0 of the sample hub, without messages: what a newborn ledger commits to."""
    breaker = maybe(None) + u64(0)
    chain = chain_id("zero") + HUB + u32(0) + encode_terms(TERMS)
    chain += maybe(None) * 5 + b"\x00" + maybe(None)
    sections = [[encode_params(PARAMS)], [], [], [], [breaker, chain], [], [], []]
    state_root = root([leaf(root([leaf(data) for data in section])) for section in sections])
    header = u64(0) + bytes(32) + root([]) + state_root + double(REGTEST_GENESIS) + u32(0)
    return {"header": header.hex(), "hash": tagged("palisade/1/header", header).hex()}


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
    "first_block": first_block(),
}

if __name__ == "__main__":
    target = pathlib.Path(__file__).with_name("vectors.json")
    target.write_text(json.dumps(VECTORS, indent=1) + "\n")
