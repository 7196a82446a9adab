"""Claims about what the story was told under: the demo's column of the design's table, its rule for mining, and its amounts."""

# docs/design.md, section 6: the table of parameters, the column of the regtest demo.
PARAMS = {
    "k": 6, "w": 20, "set_lifetime": 100, "margin": 18, "unbonding_blocks": 244,
    "min_lock": 300, "max_lock": 65535, "lapse": 60, "quorum": 3, "profile": "compatible",
}
BORN = {"interval_ms": 200, "roots_ahead": 64}
TERMS = {"zero": (20, 5), "other": (50, 5)}
SHARES = [20, 25, 25, 30]  # percent of the power planned for step 1
LEFT = 10  # blocks that a set in use has at least
ROOM = 40  # the same where a reorganisation begins


def rules(facts):
    """One version of the parameters, the demo's; sets and stakes of the sizes that the story is about."""
    facts.need(len(facts.versions) == 1 and len(facts.versions[0]["covenant"]) == 5, "one version of the parameters, five members")
    for name, value in PARAMS.items():
        facts.need(facts.versions[0][name] == value, f"{name} is {value}")
    for name, value in BORN.items():
        facts.need(facts.log.born[name] == value, f"{name} is {value}")
    planned = amounts(facts)
    for chain, terms in facts.terms.items():
        length, every = TERMS.get(chain, TERMS["other"])
        facts.need((terms["epoch_length"], terms["voted_every"]) == (length, every), f"chain {chain}: epochs of {length}, every {every}th voted")
        facts.need(terms["minimum_power"] * 100 == planned * 95, f"chain {chain} opens at 95 % of the power planned")
    mining(facts)
    newest(facts)


def newest(facts):
    """Step 1.4 is about the whole story: it names the newest final block of each chain."""
    named = next(step for step in facts.report["steps"] if step["n"] == "1.4")["refs"]
    blocks = facts.report["finality"]
    for chain in facts.terms:
        height, place = max((block["height"], i) for i, block in enumerate(blocks) if block["chain"] == chain)
        facts.need(f"finality/{place}" in named, f"step 1.4 names block {height} of chain {chain}, the newest")


def amounts(facts):
    """The stakes of step 1 in their shares, locked for 2,000 blocks, one registered after; later ones of 1 % at most. Gives their sum."""
    step = next(step for step in facts.report["steps"] if step["n"] == "1.3")
    first = [facts.report["stakes"][int(ref.split("/")[1])] for ref in step["refs"] if ref.startswith("stakes/")]
    planned = sum(stake["sat"] for stake in first)
    facts.need(sorted(stake["sat"] * 100 // planned for stake in first) == SHARES, f"step 1.3 locks shares of {SHARES} %")
    facts.need(all(stake["timelock"] == 2000 for stake in first), "step 1.3 locks for 2,000 blocks")
    after = ["inclusion" in facts.stakes[stake["id"]].real for stake in first]
    facts.need(sorted(after) == [False, False, False, True], "step 1.3: one stake is registered after broadcasting")
    for i, stake in enumerate(facts.report["stakes"]):
        old = facts.stakes[stake["id"]].real["expands"]
        added = stake["sat"] - (facts.stakes[old.hex()].sat if old else 0)
        facts.need(stake in first or added * 100 <= planned, f"stakes/{i}: at most 1 % of the power planned")
    return planned


def mining(facts):
    """Bitcoin never came near the expiry of a set in use; where a reorganisation began it was far from all of them."""
    in_use = {}
    begin = {facts.seen[i]: entry for i, entry in enumerate(facts.report["reorgs"])}
    for block in facts.log.blocks:
        if block.height in begin:
            tip = facts.log.bitcoin[bytes.fromhex(begin[block.height]["old_tip"])[::-1]]
            facts.need(len(in_use) == len(facts.terms), "every chain has a set in use where Bitcoin reorganises")
            for chain, expiry in in_use.items():
                facts.need(expiry >= tip + ROOM, f"chain {chain}: the set in use outlives the reorganisation at {tip} by {ROOM} blocks")
        newer = {}
        for _, name, content in block.messages:
            if name == "certificate":
                chain = next(id for id, own in facts.contexts.items() if own == content["set"][:32])
                newer[chain] = int.from_bytes(content["set"][40:44], "big")
        for chain, expiry in [*in_use.items(), *newer.items()]:
            facts.need(block.header["btc_height"] + LEFT <= expiry, f"hub block {block.height}: the set of chain {chain} has {LEFT} blocks left")
        in_use |= newer

