"""The hub's log as the report ships it (layout: docs/report.md), with every hash, root and signature in it checked."""

from functools import lru_cache

from wire import *


class Block:
    def __init__(self, head, messages, before, tips):
        self.height, self.header, self.before = head["height"], head, before
        self.messages = messages  # (id, name, content), in order
        self.tips = tips  # Bitcoin's (hash, height) after each message


class Log:
    """Blocks by height, messages by id, certificates by ballot with their hub block's height; places (hub height, place in
    the block) at which governance resumes. `need` is told every fact."""

    def __init__(self, data, born, hub_id, need):
        self.born, self.blocks, self.messages = born, [], {}
        self.certificates, self.resumes = {}, []
        self.hub_context = context(hub_id, born["magic"], "zero", hub_id, 0, 7)
        headers = born["base_headers"]
        first = born["base_height"] + 1 - len(headers)
        self.bitcoin = {double(each): first + i for i, each in enumerate(headers)}
        self.parents = {double(each): each[4:36] for each in headers}
        self.merkle_roots = {double(each): each[36:68] for each in headers}
        self.tip = double(headers[-1]), born["base_height"]
        r = Reader(data)
        while r.at < len(data):
            self.read(r, need)
        self.names = {id.hex() for id in self.messages} | {block.header["hash"].hex() for block in self.blocks}

    def read(self, r, need):
        end = r.data.index(b"\n", r.at)
        words = r.data[r.at : end].decode().split(" ")
        r.at = end + 1
        hashes = [r.take(32) for _ in words[1:]]
        inside = Reader(r.blob())
        head, signature = header(inside.take(140)), inside.take(64)
        messages = inside.items(inside.blob)
        inside.end()
        where, height = f"hub.log: block {len(self.blocks)}", len(self.blocks)
        ids = [tagged("palisade/1/message", each) for each in messages]
        need(words == [str(height)] + [each.hex() for each in hashes], f"{where}: its line and its hashes differ")
        need(head["height"] == height, f"{where} has height {head['height']}")
        need(hashes == [head["hash"]] + ids, f"{where}: hashes are not those of its header and messages")
        previous = self.blocks[-1].header["hash"] if self.blocks else bytes(32)
        need(head["previous"] == previous, f"{where} does not follow the block before it")
        need(head["message_root"] == root([leaf(each) for each in ids]), f"{where}: message root")
        signed = tagged("palisade/1/signed-header", self.hub_context + head["hash"])
        need(verifies(self.born["hub_key"], signed, signature), f"{where}: the hub's signature")
        before, tips, decoded = self.tip, [], []
        for id, data in zip(ids, messages):
            name, content = message(data)
            if name == "headers":
                self.extend(content["headers"])
            for proof in [content.get("inclusion"), content.get("backing", {}).get("proof")]:
                need(proof is None or included(proof, self.merkle_roots[proof["block"]]), f"{where}: an inclusion proof")
            tips.append(self.tip)
            decoded.append((id, name, content))
            self.messages[id] = (height, name, content)
            if name == "certificate":
                self.certificates.setdefault(content["ballot"], (height, content))
            if name == "governance" and content["action"] == 2:
                self.resumes.append((height, len(decoded) - 1))
        need((head["btc_tip"], head["btc_height"]) == self.tip, f"{where}: Bitcoin's tip")
        self.blocks.append(Block(head, decoded, before, tips))

    def extend(self, headers):
        for each in headers:
            self.parents[double(each)] = each[4:36]
            self.merkle_roots[double(each)] = each[36:68]
            self.bitcoin[double(each)] = self.bitcoin[each[4:36]] + 1
        self.tip = double(headers[-1]), self.bitcoin[double(headers[-1])]

    def all(self, name, until=None):
        """(hub height, id, content) of all messages of a kind, up to a block."""
        blocks = self.blocks if until is None else self.blocks[: until + 1]
        return [(block.height, id, content) for block in blocks for id, kind, content in block.messages if kind == name]

    def tip_after(self, id):
        height, _, _ = self.messages[id]
        block = self.blocks[height]
        return block.tips[[each for each, _, _ in block.messages].index(id)]

    def chain_at(self, tip):
        """Hashes of the chain that ends at a tip."""
        while tip in self.parents:
            yield tip
            tip = self.parents[tip]


@lru_cache(maxsize=4)
def checked_log(data, genesis_bytes):
    """The log and how many facts of it hold. The same bytes are checked once: the self-test alters the report more often."""
    count = 0

    def need(holds, fact):
        nonlocal count
        count += 1
        if not holds:
            raise ValueError(fact)

    hub_id = tagged("palisade/1/hub", genesis_bytes)
    log = Log(data, genesis(genesis_bytes), hub_id, need)
    return log, count
