"""Claims about the hub: its genesis and log, chains, parameters, providers, and stakes from their registration on."""

from wire import *


def hub(facts):
    """The id hashes the genesis document; the header is the log's last; every hash in the log is what it should be."""
    log, own, newest = facts.log, facts.report["hub"], facts.log.blocks[-1].header
    facts.need(facts.hub_id.hex() == own["id"], "hub.id is the hash of the genesis document")
    told = own["header"]
    for field in ("previous", "message_root", "state_root", "hash"):
        facts.need(told[field] == newest[field].hex(), f"hub.header.{field} is that of the log's last block")
    facts.need(told["height"] == newest["height"], "hub.header.height is that of the log's last block")
    facts.need(told["btc_tip"] == newest["btc_tip"][::-1].hex(), "hub.header.btc_tip is that of the log's last block")
    facts.need(told["btc_height"] == newest["btc_height"], "hub.header.btc_height is that of the log's last block")
    place = facts.node.ask("getblockheader", told["btc_tip"])
    facts.need(place and place["height"] == told["btc_height"], "the node has the hub's Bitcoin tip at that height")
    facts.count(facts.log_facts)
    facts.need(log.blocks[0].height == 0, "the log begins at height 0")


def chains(facts):
    """Chain zero, then each that governance registered; contexts follow from the hub's id, network and genesis."""
    born = facts.log.born
    known = [("zero", facts.hub_id, born["zero"])]
    decisions = [content for _, _, content in facts.log.all("governance") if content["action"] == 0]
    known += [(each["chain"], each["genesis"], each["terms"]) for each in decisions]
    told = facts.report["chains"]
    facts.need([chain["id"] for chain in told] == [name for name, _, _ in known], "chains are those of the log")
    for chain, (name, first, _) in zip(told, known):
        facts.need(chain["zero"] == (name == "zero"), f"chain {name}: zero")
        facts.need(chain["genesis"] == first.hex(), f"chain {name}: genesis")
        facts.need(chain["incarnation"] == 0, f"chain {name}: incarnation")
        vote = context(facts.hub_id, born["magic"], name, first, chain["incarnation"], 1)
        facts.need(chain["context"] == vote.hex(), f"chain {name}: context")
    facts.terms = {name: terms for name, _, terms in known}
    facts.contexts = {chain["id"]: bytes.fromhex(chain["context"]) for chain in told}


def params(facts):
    """The genesis version, then those that governance set."""
    versions = [facts.log.born["params"]]
    versions += [content["params"] for _, _, content in facts.log.all("governance") if content["action"] == 1]
    facts.versions = versions
    facts.need(len(facts.report["params"]) == len(versions), "there are as many versions of the parameters as in the log")
    for i, (told, real) in enumerate(zip(facts.report["params"], versions)):
        facts.need(told["id"] == i, f"params/{i}: id")
        for field in set(told) - {"id", "covenant", "slash_script"}:
            facts.need(told[field] == real[field], f"params/{i}: {field} is {real[field]}")
        facts.need(told["covenant"] == [key.hex() for key in real["covenant"]], f"params/{i}: covenant")
        facts.need(told["slash_script"] == real["slash_script"].hex(), f"params/{i}: slash_script")


def fps(facts):
    """Every registration in the log, in order, signed by its key."""
    registered = facts.log.all("provider")
    facts.need(len(facts.report["fps"]) == len(registered), "there are as many providers as in the log")
    for i, (told, (_, _, real)) in enumerate(zip(facts.report["fps"], registered)):
        facts.need(told["key"] == real["key"].hex(), f"fps/{i}: key")
        facts.need(told["name"] == real["operator"] and told["chain"] == real["chain"], f"fps/{i}: name and chain")
        key, possession = real["bls"] or (None, None)
        facts.need(told.get("bls") == (key and key.hex()) and bool(key) == (real["chain"] == "zero"), f"fps/{i}: bls")
        holds = key is None or bls.verify((key,), key, possession, bls.POSSESSION)
        facts.need(holds, f"fps/{i}: the BLS key's proof of possession")
        of = next(chain for chain in facts.report["chains"] if chain["id"] == real["chain"])
        named = context(facts.hub_id, facts.log.born["magic"], real["chain"], bytes.fromhex(of["genesis"]), 0, 4)
        back = real["backing"]["proof"]["tx"].id + u32(real["backing"]["vout"])
        operator = blob(real["operator"].encode())
        data = named + real["key"] + operator + (sha256(key) if key else bytes(32)) + back
        message = tagged("palisade/1/provider", data)
        facts.need(verifies(real["key"], message, real["signature"]), f"fps/{i}: the key's signature")
    facts.fps = {content["key"].hex(): content for _, _, content in registered}


class Stake:
    """What follows from a registration in the log and the parameters: outputs, leaves and agreed transactions."""

    def __init__(self, told, real, version):
        self.told, self.real, self.version, self.sat = told, real, version, real["tx"].outputs[real["vout"]][0]
        self.keys = Keys(real["staker"], real["fps"] + real["old_fps"], version["covenant"], version["quorum"])
        self.outpoint = f"{real['tx'].txid}:{real['vout']}"
        self.staking = Output("staking", self.keys, real["lock"])
        self.unbonding_output = Output("unbonding", self.keys, version["unbonding_blocks"])
        self.change = Output("change", self.keys, version["unbonding_blocks"])
        rules = {
            "slash_rate_bp": version["slash_rate_bp"], "min_slash_fee_sat": version["min_slash_fee"],
            "slash_script": version["slash_script"].hex(), "unbonding_blocks": version["unbonding_blocks"],
            "unbonding_fee_sat": version["unbonding_fee"], "profile": version["profile"],
        }
        self.unbonding = unbonding_tx(real["tx"].id, real["vout"], self.sat, self.keys, rules)
        unbonded = self.unbonding.outputs[0][0]
        self.slashings = [
            slashing_tx(real["tx"].id, real["vout"], self.sat, self.keys, rules),
            slashing_tx(self.unbonding.txid, 0, unbonded, self.keys, rules),
        ]


def shown(txid):
    return txid[::-1].hex()


def derived(facts, i, told):
    """The stake that a registration makes; remembered, for deriving keys is slow."""
    _, name, real = facts.log.messages.get(bytes.fromhex(told["id"]), (0, "", None))
    facts.need(name == "stake", f"stakes/{i}: id is that of a registration in the log")
    index = facts.version_of(real)
    facts.need(told["params"] == index, f"stakes/{i}: params are version {index}, in force when it was registered")
    if told["id"] not in facts.cache:
        facts.cache[told["id"]] = Stake(told, real, facts.versions[index])
    return facts.cache[told["id"]]


def stakes(facts):
    """Everything follows from the registration whose hash the id is, and from the parameters in force then."""
    facts.stakes = {}
    ids = {stake["id"] for stake in facts.report["stakes"]}
    facts.need(ids == {id.hex() for _, id, _ in facts.log.all("stake")}, "stakes are all that the log registers")
    facts.need(len(ids) == len(facts.report["stakes"]), "no stake stands twice")
    for i, told in enumerate(facts.report["stakes"]):
        own, where = derived(facts, i, told), f"stakes/{i}"
        real = own.real
        facts.need(told["outpoint"] == own.outpoint, f"{where}: outpoint")
        facts.need(told["sat"] == own.sat, f"{where}: sat")
        facts.need(told["staker"] == real["staker"].hex(), f"{where}: staker")
        facts.need(told["fps"] == [key.hex() for key in real["fps"]], f"{where}: fps")
        facts.need(told["old_fps"] == [key.hex() for key in real["old_fps"]], f"{where}: old_fps")
        facts.need(told["timelock"] == real["lock"], f"{where}: timelock")
        for leaf_name, script in own.staking.leaves.items():
            facts.need(told["leaves"][leaf_name] == script.hex(), f"{where}: {leaf_name} leaf")
        output = real["tx"].outputs[real["vout"]][1]
        facts.need(output == own.staking.script, f"{where}: the output's key commits to the leaves")
        facts.need(told["unbonding_txid"] == shown(own.unbonding.txid), f"{where}: unbonding pays the exact fee")
        txids = [shown(tx.txid) for tx in own.slashings]
        facts.need(told["slashing_txids"] == txids, f"{where}: slashings burn the rate and pay the least fee")
        for tx, coin, witness_script, signature in slashing_signatures(own):
            signed = verifies(real["staker"], Transaction(tx.bytes).sighash(0, [coin], witness_script), signature)
            facts.need(signed, f"{where}: the staker's signature on a slashing")
        facts.stakes[told["id"]] = own


def slashing_signatures(own):
    coins = [(own.sat, own.staking.script), own.unbonding.outputs[0]]
    leaves = [own.staking.leaves["slashing"], own.unbonding_output.leaves["slashing"]]
    return zip(own.slashings, coins, leaves, own.real["signatures"])
