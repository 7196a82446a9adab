"""Claims about Bitcoin: the node's tip, where transactions stand, and what each of them is."""

from functools import lru_cache

from wire import *


def node_tip(facts):
    """The node's best chain ends where the report says, and it is the node that the report names."""
    info, told = facts.node.ask("getblockchaininfo"), facts.report["node"]
    facts.need(told["tip"] == {"height": info["blocks"], "hash": info["bestblockhash"]}, "node.tip is the node's best block")
    facts.need(facts.node.ask("getnetworkinfo")["subversion"] == told["version"], "node.version is the node's own word")


@lru_cache(maxsize=None)
def parse(raw):
    return Transaction(bytes.fromhex(raw))


def txs(facts):
    """Each stands in the named block at the named height and depth, or waits in the mempool; its witness opens the named leaf."""
    facts.mined = {}
    for i, entry in enumerate(facts.report["txs"]):
        where, txid = f"txs/{i}", entry["txid"]
        found = facts.node.ask("getrawtransaction", txid, 1, *([entry["block"]] if "block" in entry else []))
        facts.need(found, f"{where}: the node knows the transaction there")
        tx = parse(found["hex"])
        facts.need(tx.txid == txid, f"{where}: txid is the transaction's hash")
        facts.need(("block" in entry) == ("height" in entry), f"{where}: block and height come together")
        if "block" in entry:
            head = facts.node.ask("getblockheader", entry["block"])
            facts.need(head and head["height"] == entry["height"], f"{where}: the block is at that height")
            depth = -1 if entry["stale"] else facts.report["node"]["tip"]["height"] - entry["height"] + 1
            facts.need(head["confirmations"] == depth, f"{where}: the block is {'off' if entry['stale'] else 'on'} the best chain")
            if not entry["stale"]:
                facts.mined[txid] = entry["height"]
        else:
            facts.need(not entry["stale"], f"{where}: stale means in a block that Bitcoin left")
            facts.need(facts.node.ask("getmempoolentry", txid), f"{where}: the transaction waits in the mempool")
        facts.need((txid, entry.get("block")) not in facts.told, f"{where}: no entry stands twice")
        facts.told[txid, entry.get("block")] = tx
    for i, entry in enumerate(facts.report["txs"]):
        KINDS[entry["kind"]](facts, f"txs/{i}", entry, facts.told[entry["txid"], entry.get("block")])
    none_left_out(facts)


def none_left_out(facts):
    """Whatever Bitcoin's blocks hold of the story has an entry for each block, those that a reorganisation left too."""
    named = {each["txid"] for section in ("anchors", "txs") for each in facts.report[section]}
    backings = {each["backing"]["proof"]["tx"].txid for each in facts.fps.values()}
    tips = [facts.report["node"]["tip"]["hash"], *(entry["old_tip"] for entry in facts.report["reorgs"])]
    heads = {head["hash"]: head for tip in tips for head in branch(facts, tip)}
    for hash, head in heads.items():
        if head["nTx"] == 1:
            continue
        for each in facts.node.ask("getblock", hash, 2)["tx"][1:]:
            due = each["txid"] in named | backings or of_a_stake(facts, parse(each["hex"]))
            facts.need(not due or (each["txid"], hash) in facts.told, f"txs: {each['txid']} in block {hash} has an entry")


def of_a_stake(facts, tx):
    """Whether a transaction makes a stake or spends an output of one."""
    makes = any(tx.txid == own.outpoint.split(":")[0] for own in facts.stakes.values())
    return makes or any(lock_of(own, outpoint) for outpoint in tx.spends() for own in facts.stakes.values())


def branch(facts, tip):
    """Headers from a tip down, as deep as the hub's base."""
    found, base = [], facts.log.born["base_height"]
    head = facts.node.ask("getblockheader", tip)
    while head and head["height"] > base:
        found.append(head)
        head = facts.node.ask("getblockheader", head["previousblockhash"])
    return found


def of_stake(facts, where, entry, leaf_name=None):
    facts.need(entry.get("stake") in facts.stakes, f"{where}: stake is one of the report's")
    facts.need(entry.get("leaf") == leaf_name, f"{where}: leaf is {leaf_name}")
    return facts.stakes[entry["stake"]]


def fund(facts, where, entry, tx):
    free = "stake" not in entry and "leaf" not in entry and not of_a_stake(facts, tx)
    facts.need(free, f"{where}: a funding spends no leaf and makes no stake")


def stake(facts, where, entry, tx):
    own = of_stake(facts, where, entry)
    makes(facts, where, own, tx)


def makes(facts, where, own, tx):
    facts.need(tx.txid == own.outpoint.split(":")[0], f"{where}: it makes the stake's output")
    facts.need(tx.outputs[own.real["vout"]] == (own.sat, own.staking.script), f"{where}: the output holds the stake's value and key")


def opens(facts, where, tx, index, output, leaf_name):
    """The witness of an input shows the named leaf of an output of ours, and its control block."""
    stack = tx.witnesses[index]
    facts.need(len(stack) >= 3 and stack[-2] == output.leaves[leaf_name], f"{where}: the witness script is the {leaf_name} leaf")
    facts.need(stack[-1] == output.control[leaf_name], f"{where}: the control block leads to the output's key")


def unbond(facts, where, entry, tx):
    own = of_stake(facts, where, entry, "unbonding")
    facts.need(tx.id == own.unbonding.txid, f"{where}: it is the stake's unbonding transaction")
    opens(facts, where, tx, 0, own.staking, "unbonding")
    quorum(facts, where, tx, own, own.staking.leaves["unbonding"], own.version["quorum"])


def quorum(facts, where, tx, own, script, wanted):
    """Signatures of the committee stand first, in descending order of key: so many, each verified, and the staker's last."""
    sighash, stack = tx.sighash(0, coins(facts, tx), script), tx.witnesses[0]
    committee = sorted(own.version["covenant"], reverse=True)
    given = [(key, signature) for key, signature in zip(committee, stack) if signature]
    facts.need(len(given) == wanted, f"{where}: {wanted} members of the committee signed")
    for key, signature in given + [(own.real["staker"], stack[-3])]:
        facts.need(verifies(key, sighash, signature), f"{where}: signature of {key.hex()}")


def slash(facts, where, entry, tx):
    own = of_stake(facts, where, entry, "slashing")
    facts.need(tx.id in [each.txid for each in own.slashings], f"{where}: it is one of the stake's slashing transactions")
    output = [own.staking, own.unbonding_output][[each.txid for each in own.slashings].index(tx.id)]
    opens(facts, where, tx, 0, output, "slashing")
    facts.need(tx.version == 2, f"{where}: version 2")


def lock_of(own, outpoint):
    """The output of a stake that an outpoint is, and how many blocks its timelock waits."""
    return outputs_of(own).get(outpoint)


@lru_cache(maxsize=None)
def outputs_of(own):
    u = own.version["unbonding_blocks"]
    outputs = {own.outpoint: (own.staking, own.real["lock"]), f"{own.unbonding.txid[::-1].hex()}:0": (own.unbonding_output, u)}
    for each in own.slashings:
        outputs[f"{each.txid[::-1].hex()}:1"] = (own.change, u)
    return outputs


def withdraw(facts, where, entry, tx):
    own = of_stake(facts, where, entry, "timelock")
    ours = [(i, outpoint) for i, outpoint in enumerate(tx.spends()) if lock_of(own, outpoint)]
    facts.need(ours, f"{where}: it spends an output of the stake's")
    for i, outpoint in ours:
        output, lock = lock_of(own, outpoint)
        opens(facts, where, tx, i, output, "timelock")
        facts.need(tx.version == 2 and tx.inputs[i][3] >> 16 == 0 and tx.inputs[i][3] >= lock, f"{where}: the input waits {lock} blocks")
        if "height" in entry and not entry["stale"]:
            facts.need(entry["height"] >= height_of(facts, outpoint) + lock, f"{where}: mined when the {lock} blocks were over")


def height_of(facts, outpoint):
    """Height of the transaction that made an output, by the node."""
    txid = outpoint.split(":")[0]
    found = facts.node.ask("getrawtransaction", txid, 1)
    facts.need(found and "blockhash" in found, f"{txid} is on Bitcoin")
    return facts.node.ask("getblockheader", found["blockhash"])["height"]


def expand(facts, where, entry, tx):
    own = of_stake(facts, where, entry, "unbonding")
    makes(facts, where, own, tx)
    old = facts.stakes[own.real["expands"].hex()]
    facts.need(tx.spends()[0] == old.outpoint and len(tx.inputs) == 2, f"{where}: it spends the old stake, then a coin")
    opens(facts, where, tx, 0, old.staking, "unbonding")
    facts.need(own.sat >= old.sat and own.real["staker"] == old.real["staker"], f"{where}: same staker, same amount or more")
    kept = set(own.real["fps"] + own.real["old_fps"])
    facts.need(set(old.real["fps"]) <= kept, f"{where}: keys with power in the old stake stay named")


def anchor(facts, where, entry, tx):
    named = [each for each in facts.report["anchors"] if each["txid"] == entry["txid"]]
    facts.need(named and "stake" not in entry and "leaf" not in entry, f"{where}: it is one of the anchors")


KINDS = {"fund": fund, "stake": stake, "unbond": unbond, "slash": slash, "withdraw": withdraw, "expand": expand, "anchor": anchor}


def refused(facts):
    """One signature short and valid otherwise, or one block early."""
    for i, entry in enumerate(facts.report["refused"]):
        where, tx = f"refused/{i}", parse(entry["tx"])
        spent = [(own, outpoint) for outpoint in tx.spends() for own in facts.stakes.values() if lock_of(own, outpoint)]
        facts.need(spent, f"{where}: it spends an output of a stake's")
        own, outpoint = spent[0]
        output, lock = lock_of(own, outpoint)
        index = tx.spends().index(outpoint)
        opens(facts, where, tx, index, output, entry["leaf"])
        born = height_of(facts, outpoint)
        if entry["leaf"] == "timelock":
            facts.need(entry["reason"] == "non-BIP68-final", f"{where}: the node says that it is too early")
            facts.need(tx.inputs[index][3] == lock, f"{where}: it waits exactly {lock} blocks")
            facts.need(entry["at_height"] == born + lock - 2, f"{where}: refused one block early, at {born + lock - 2}")
            sighash = tx.sighash(index, coins(facts, tx), output.leaves["timelock"])
            facts.need(verifies(own.real["staker"], sighash, tx.witnesses[index][0]), f"{where}: the staker's signature")
        else:
            facts.need("script" in entry["reason"], f"{where}: the node says that the script fails")
            quorum(facts, where, tx, own, output.leaves[entry["leaf"]], own.version["quorum"] - 1)
            for other, (_, script) in enumerate(coins(facts, tx)):
                if other != index:
                    key, signature = script[2:], tx.witnesses[other][0]
                    valid = script[:2] == b"\x51\x20" and verifies(key, tx.sighash(other, coins(facts, tx)), signature)
                    facts.need(valid, f"{where}: input {other} is signed by its key")
            whole = facts.mined.get(tx.txid)
            facts.need(whole == entry["at_height"] + 1 > born, f"{where}: the complete one was mined in the next block")


def coins(facts, tx):
    """What the inputs spend: (value, script) each."""
    made = [(facts.node.ask("getrawtransaction", outpoint.split(":")[0], 1), outpoint) for outpoint in tx.spends()]
    return [parse(found["hex"]).outputs[int(outpoint.split(":")[1])] for found, outpoint in made]
