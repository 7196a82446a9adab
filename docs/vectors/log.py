"""A short log of the sample hub, from its birth to a trip of the breaker and back, with the state that each block commits to.

No ledger is written anew here: the leaves are what sections 6 to 8 say of these messages, put down by hand."""

from sample import *

WHOLE = 1_000_005  # The only stake, so everybody's power.


class Log:
    """Leaves by section, and the blocks closed over them."""

    def __init__(self):
        self.sections = [[] for _ in range(9)]
        self.blocks, self.hashes, self.tip = [], [], (double(REGTEST_GENESIS), 0)

    def put(self, section, index, data):
        leaves = self.sections[section]
        leaves[index : index + 1] = [data]

    def close(self, messages=()):
        """Sections 8.1 and 8.2: the header over what stands in the leaves; then its hash becomes a leaf."""
        roots = [root([leaf(data) for data in section]) for section in self.sections]
        ids = [leaf(tagged("palisade/1/message", message)) for message in messages]
        previous = self.hashes[-1] if self.hashes else bytes(32)
        header = u64(len(self.hashes)) + previous + root(ids) + root([leaf(section) for section in roots])
        header += self.tip[0] + u32(self.tip[1])
        name = tagged("palisade/1/header", header)
        signature = bip340(secret("hub"), tagged("palisade/1/signed-header", zero(7) + name))
        self.blocks.append(header + signature + items([blob(message) for message in messages]))
        self.hashes.append(name)
        self.sections[7].append(name)

    def set(self, index, header):
        self.put(5, index, header + encode_terms(TERMS))

    def close_until(self, height):
        while len(self.hashes) < height:
            self.close()

    def mined(self, headers, fork=None):
        """Bitcoin's tip moves, from a fork if one is named; gives the message."""
        if fork is not None:
            self.tip = None, fork
            del self.sections[1][fork:]
        for header in headers:
            self.tip = double(header), self.tip[1] + 1
            self.sections[1].append(self.tip[0])
        return b"\x01" + items(headers)

    def breaker(self, reason, decisions):
        self.put(4, 0, maybe(text(reason) if reason else None) + u64(decisions) + governors(GOVERNANCE, 2))

    def chain(self, index, newest=None, final=None, opened=None, accepted=None):
        name, genesis = [("zero", HUB), ("demo", DEMO_GENESIS)][index]
        out = chain_id(name) + genesis + u32(0) + encode_terms(TERMS)
        out += maybe(u64(newest) if newest is not None else None)
        out += maybe(u64(final) if final is not None else None)
        out += maybe(self.hashes[final] if final is not None else None)
        out += maybe(u64(opened) if opened is not None else None)
        out += maybe(None) + b"\x00" + maybe(u64(accepted) if accepted is not None else None)
        self.put(4, index + 1, out)

    def provider(self, index, power=0, roots=(), exposed=None):
        name, chain = [("fp 0", "zero"), ("fp 1", "demo")][index]
        out = key(name) + chain_id(chain) + text(OPERATOR)
        out += maybe(sha256(BLS_KEY) if chain == "zero" else None)
        out += maybe(u64(exposed) if exposed is not None else None) + u64(power) + u64(len(roots))
        out += b"".join(u64(epoch) + nonce_root + items([]) for epoch, nonce_root in roots)
        self.put(2, index, out)

    def stake(self, sample, state, signatures=2, refusals=1, consents=0, included=None, activated=False):
        out = tagged("palisade/1/message", sample.registration()) + sample.staking.txid + u32(1)
        out += u64(WHOLE) + sample.keys.staker + items(sample.keys.providers) + items([]) + u16(sample.LOCK)
        out += u64(0) + u8(state) + maybe(included) + maybe(None) + maybe(None)
        out += u8(activated) + u64(signatures) + u64(refusals) + u64(consents)
        self.put(3, 0, out)


def member_set(of, epoch, name):
    """The set of one member; fixed while Bitcoin's tip is at 8, so it expires at 108."""
    bls = {"fp 0": sha256(BLS_KEY)}
    first = epoch * TERMS["epoch_length"]
    return Epoch(of, epoch, 108, first, {name: WHOLE}, bls)


def log():
    sample, made = Sample(), Log()
    zero2, zero3 = member_set(zero, 2, "fp 0"), member_set(zero, 3, "fp 0")
    demo9 = member_set(demo, 9, "fp 1")
    headers, included = bitcoin(sample)
    born(made, sample, headers)
    registered(made, sample, [zero2, zero3, demo9])
    active(made, sample, headers, included, [zero2, zero3, demo9])
    final(made, zero2, zero3)
    exposed(made, sample, zero2, included)
    anchored(made, zero2, headers[-1])
    tripped(made)
    return [block.hex() for block in made.blocks]


def bitcoin(sample):
    """Eight headers above the base, the second over the staking transaction; and that block's inclusion proof."""
    header, block = next_block(sample.header, 2, [sample.staking])
    headers = [sample.header, header]
    for height in range(3, 9):
        headers.append(next_block(headers[-1], height, [])[0])
    return headers, inclusion(header, block, 1)


def born(made, sample, headers):
    made.put(0, 0, encode_params(PARAMS))
    made.breaker(None, 0)
    made.chain(0)
    made.close()
    made.chain(1)
    made.breaker(None, 1)
    made.close([made.mined(headers[:1]), decision(0, REGISTER_DEMO)])


def registered(made, sample, epochs):
    """Height 2: two providers, their roots, the stake. Height 3: two members sign, one refuses."""
    zero2, zero3, demo9 = epochs
    messages = [sample.provider("fp 0", 2, (BLS_KEY, BLS_POSSESSION))[2], sample.provider("fp 1", 3)[2]]
    commitments = [(zero2, "fp 0"), (zero3, "fp 0"), (demo9, "fp 1")]
    messages += [b"\x08" + epoch.commitment(name)[1] for epoch, name in commitments]
    messages.append(sample.registration())
    made.provider(0, roots=[(2, root_of(zero2, "fp 0")), (3, root_of(zero3, "fp 0"))])
    made.provider(1, roots=[(9, root_of(demo9, "fp 1"))])
    made.stake(sample, 0, signatures=0, refusals=0)
    made.close(messages)
    stake_id = tagged("palisade/1/message", messages[-1])
    answers = [sample.answer(stake_id, member) for member in ("covenant 0", "covenant 1")]
    made.stake(sample, 1)
    made.close(answers + [sample.refusal(stake_id, "covenant 2", "too late")[1]])


def root_of(epoch, name):
    return root(epoch.leaves(name))


def active(made, sample, headers, included, epochs):
    """Height 4: included. Height 5: at depth 6 the stake has power, and the other chain opens."""
    zero2, zero3, demo9 = epochs
    stake_id = tagged("palisade/1/message", sample.registration())
    made.stake(sample, 1, included=included[:32])
    made.close([made.mined(headers[1:2]), b"\x06" + stake_id + included])
    made.stake(sample, 2, included=included[:32], activated=True)
    made.provider(0, WHOLE, [(2, root_of(zero2, "fp 0")), (3, root_of(zero3, "fp 0"))])
    made.provider(1, WHOLE)
    made.set(0, demo9.header)
    made.chain(1, newest=9, opened=9)
    made.close([made.mined(headers[2:])])


def final(made, zero2, zero3):
    """Chain zero fixes S(2) at height 20 and S(3) at 40; height 40 becomes final in block 41."""
    made.close_until(20)
    made.set(1, zero2.header)
    made.chain(0, newest=2, opened=2)
    made.provider(0, WHOLE, [(3, root_of(zero3, "fp 0"))])
    made.close_until(40)
    made.set(2, zero3.header)
    made.chain(0, newest=3, opened=2)
    made.provider(0, WHOLE)
    made.close()
    made.put(6, 0, chain_id("zero") + u64(40) + made.hashes[40])
    made.chain(0, newest=3, opened=2, final=40)
    made.close([b"\x09" + zero2.certificate(["fp 0"], made.hashes[40])])


def batch(height, digests):
    what = u64(height) + root([leaf(digest) for digest in digests]) + u32(len(digests))
    return b"\x0c" + what + bip340(secret("hub"), tagged("palisade/1/batch", zero(7) + what))


def exposed(made, sample, zero2, included):
    """Block 42: the only provider of chain zero equivocates, and two digests are recorded."""
    made.provider(0, 0, exposed=42)
    made.provider(1, 0)
    made.stake(sample, 5, included=included[:32], activated=True)
    made.close([b"\x0a" + zero2.evidence("fp 0"), batch(42, [sha256(b"a"), sha256(b"b")])])


class Anchored:
    """A transaction that anchors a header of epoch 2, signed by the set's one member."""

    def __init__(self, header, place):
        checkpoint = tagged("palisade/1/checkpoint", zero(3) + u64(2) + header)
        payload = b"plsd\x01" + u64(2) + header + b"\x80" + bls.sign(BLS_SECRET, checkpoint)
        script = b"\x6a\x4c" + u8(len(payload)) + payload
        self.header, self.tx = header, spend(sha256(b"the anchorer's"), place, [(900, b"\x51"), (0, script)])

    def mine(self, parent, height):
        """The block's header; and the message that tells of the anchor."""
        header, block = next_block(parent, height, [self.tx])
        return header, b"\x0b" + inclusion(header, block, 1)

    def first(self, block):
        return maybe(self.header + double(block) + self.tx.txid + u32(1))


def anchored(made, zero2, parent):
    """Block 57: the header at height 55 is anchored, and a false one after it. Block 58: a reorg takes both away. Block 59: only
    the false one comes again."""
    made.close_until(57)
    true, false = Anchored(made.hashes[55], 0), Anchored(sha256(b"a false header"), 1)
    ninth, told = true.mine(parent, 9)
    tenth, told_false = false.mine(ninth, 10)
    made.put(8, 0, u64(2) + true.first(ninth) + items([false.header]))
    made.close([made.mined([ninth, tenth]), told, told_false])
    others = [next_block(parent, 9, [])[0]]
    others.append(next_block(others[0], 10, [])[0])
    eleventh, told_false = false.mine(others[1], 11)
    made.put(8, 0, u64(2) + maybe(None) + items([false.header]))
    made.close([made.mined(others + [eleventh], fork=8)])
    made.put(8, 0, u64(2) + false.first(eleventh) + items([]))
    made.close([told_false])


def tripped(made):
    """Block 60: S(4) would be empty, so the breaker trips and S(3) is carried over without roots. Block 61: governance resumes."""
    member = leaf(key("fp 0") + u64(WHOLE) + sha256(BLS_KEY))
    carried = zero(1) + u64(4) + u32(108) + u16(1) + u64(WHOLE) + root([member]) + root([leaf(bytes(32))])
    made.set(3, carried)
    made.chain(0, newest=4, opened=2, final=40)
    made.breaker(
        f"the set of chain zero for epoch 4 would have 0 sat, at most two thirds of the {WHOLE} sat before", 1
    )
    made.close()
    made.chain(0, newest=4, opened=2, final=40, accepted=5)
    made.breaker(None, 2)
    made.close([decision(1, b"\x02" + items([chain_id("zero") + u64(5)]))])
