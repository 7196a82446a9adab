"""Claims about when the story's facts came true, and that they are about the stakes that their step is about."""

from transactions import lock_of, parse
from wire import *

# Steps that name transactions of steps before or after them: the first and the last step while which these were mined.
MINED = {"1.3": ("1.3", "2.1"), "2.1": ("1.3", "2.1"), "3.2": ("3.1", "3.2"), "3.3": ("3.1", "3.3"), "6.4": ("6.3", "6.4")}
# Steps that show that finality goes on, in the order of the story; 3.3 proves a block that was final before it began.
FINAL = ["2.2", "2.3", "2.4", "5.2", "6.3", "6.4", "1.4"]
# What each step does with outputs of stakes, stake by stake; steps that are not listed do nothing with any.
SPENDS = {
    "4.1": [{"unbond staking", "refused staking", "withdraw unbonding", "refused unbonding"}],
    "4.2": [{"withdraw staking", "refused staking"}],
    "4.3": [{"expand staking", "refused staking"}],
    "5.1": [{"unbond staking", "slash unbonding"}, {"slash staking"}],
    "5.2": [{"withdraw change of staking"}, {"withdraw change of unbonding"}],
    "6.3": [{"unbond staking"}, {"withdraw staking"}],
}


def order(facts):
    """Each fact lies in the Bitcoin heights of its step, after what the step says caused it, and spends what it should."""
    told = {step["n"]: step for step in facts.report["steps"]}
    for n, step in told.items():
        first, last = MINED.get(n, (n, n))
        mined_while_told(facts, step, told[first]["btc"][0], told[last]["btc"][1])
        if n != "3.3":
            for reference in step["refs"]:
                height = moment(facts, reference)
                inside = height is None or step["btc"][0] <= height <= step["btc"][1]
                facts.need(inside, f"step {n}: {reference} is of height {height}, while it was told")
        facts.need(spends(facts, step) == sorted(map(sorted, SPENDS.get(n, []))), f"step {n}: spends the outputs that it is about")
    finality_in_order(facts, told)
    without_the_deceived(facts, told["2.4"])
    the_guilty(facts, told)


def entries(facts, step, section):
    return [facts.report[section][int(ref.split("/")[1])] for ref in step["refs"] if ref.split("/")[0] == section]


def mined_while_told(facts, step, begin, end):
    for txid in step["txs"]:
        heights = [entry["height"] for entry in facts.report["txs"] if entry["txid"] == txid and "height" in entry]
        inside = any(begin < height <= end for height in heights)
        facts.need(inside, f"step {step['n']}: {txid} was mined above {begin} and not above {end}")


def moment(facts, reference):
    """Bitcoin's height when a fact came true, as the hub's log or the report says."""
    section, place = reference.split("/")
    entry = facts.report[section][int(place)] if isinstance(facts.report[section], list) else None
    at = {"finality": lambda: facts.certified[int(place)], "equivocations": lambda: entry["hub_height"],
          "refusals": lambda: entry["height"], "reorgs": lambda: min(each["hub_height"] for each in entry["power"])}
    if section == "refused":
        return entry["at_height"]
    return facts.log.blocks[at[section]()].header["btc_height"] if section in at else None


def spends(facts, step):
    """What a step's transactions do with outputs of stakes, and what the node refused; a list for each stake."""
    done, whole = {}, {entry["txid"] for entry in entries(facts, step, "txs")}
    todo = [(entry["kind"], facts.told[entry["txid"], entry.get("block")]) for entry in entries(facts, step, "txs")]
    for entry in entries(facts, step, "refused"):
        tx = parse(entry["tx"])
        todo.append(("refused", tx))
        same = entry["leaf"] == "timelock" or tx.txid in whole
        facts.need(same, f"step {step['n']}: it names the complete one of a refused transaction")
    for kind, tx in todo:
        for outpoint in tx.spends():
            for own in facts.stakes.values():
                if lock_of(own, outpoint):
                    done.setdefault(own.outpoint, []).append(f"{kind} {name_of(own, outpoint)}")
    return sorted(map(sorted, done.values()))


def name_of(own, outpoint):
    changes = [f"{each.txid[::-1].hex()}:1" for each in own.slashings]
    unbonded = f"{own.unbonding.txid[::-1].hex()}:0"
    names = dict(zip([own.outpoint, unbonded, *changes], ["staking", "unbonding", "change of staking", "change of unbonding"]))
    return names[outpoint]


def certified(facts, step):
    """Hub blocks that hold the certificates of a step's final blocks."""
    return [facts.certified[int(ref.split("/")[1])] for ref in step["refs"] if ref.startswith("finality/")]


def finality_in_order(facts, told):
    """Final blocks of a step are younger than those of the steps before, and than what they went on after."""
    for before, after in zip(FINAL, FINAL[1:]):
        younger = min(certified(facts, told[after])) > max(certified(facts, told[before]))
        facts.need(younger, f"step {after}: its blocks became final after those of {before}")
    out = max(entry["hub_height"] for entry in entries(facts, told["5.1"], "equivocations"))
    facts.need(min(certified(facts, told["5.2"])) > out, f"step 5.2: its blocks became final after hub block {out}")
    (trip,) = facts.trips
    resume = min(height for height, _ in facts.log.resumes)
    facts.need(len(facts.log.resumes) == 1 and trip < resume, "governance resumes once, after the breaker tripped")
    inside = all(trip < height < resume for height in certified(facts, told["6.3"]))
    zero = all(entry["chain"] == "zero" for entry in entries(facts, told["6.3"], "finality"))
    facts.need(inside and zero, f"step 6.3: a block of chain zero is certified between hub blocks {trip} and {resume}")
    others = [height for ballot, (height, _) in facts.log.certificates.items() if ballot[:32] != facts.contexts["zero"]]
    facts.need(not any(trip < height < resume for height in others), "no other chain goes on while the breaker is tripped")
    facts.need(min(certified(facts, told["6.4"])) > resume, f"step 6.4: its blocks became final after hub block {resume}")
    for n in ("2.2", "2.3", "2.4", "5.2", "6.4", "1.4"):
        chains = {entry["chain"] for entry in entries(facts, told[n], "finality")}
        facts.need(chains == set(facts.terms), f"step {n}: a block of each chain became final")


def without_the_deceived(facts, step):
    """Whoever refuses a block votes on no chain; the others go on beyond it."""
    for refusal in entries(facts, step, "refusals"):
        name = facts.fps[refusal["fp"]]["operator"]
        keys = {key for key, own in facts.fps.items() if own["operator"] == name}
        for entry in entries(facts, step, "finality"):
            voters = {vote["key"] for vote in entry["votes"]}
            facts.need(not keys & voters, f"step 2.4: block {entry['height']} of {entry['chain']} is final without {name}")
        facts.need(min(certified(facts, step)) > refusal["height"], f"step 2.4: its blocks became final after {refusal['height']}")


def the_guilty(facts, told):
    """Stakes that are slashed name the key that came out, and the same holders withdraw what is left."""
    out = {entry["key"] for entry in entries(facts, told["5.1"], "equivocations")}
    slashed, left = ({ref for ref in told[n]["refs"] if ref.startswith("stakes/")} for n in ("5.1", "5.2"))
    facts.need(slashed == left, "step 5.2: what the slashings of 5.1 left is withdrawn")
    for stake in entries(facts, told["5.1"], "stakes"):
        facts.need(out & set(stake["fps"]), "step 5.1: the slashed stakes name the key that came out")
