"""Reports that are consistent in themselves, every fact true, but told of the wrong step, or with something left out."""

import copy


def lies(report):
    """What is false about each altered report, and the report."""
    for false, alter in LIES.items():
        altered = copy.deepcopy(report)
        alter(altered)
        if altered == report:
            raise ValueError(f"{false}: this report has nothing to alter so")
        yield false, altered


def step(report, n):
    return next(step for step in report["steps"] if step["n"] == n)


def exchange(one, other, sections):
    """Two steps exchange what they name of some sections, transactions with their stakes."""
    def taken(of):
        return [ref for ref in of["refs"] if ref.split("/")[0] in sections]

    def changed(of, theirs):
        return [ref for ref in of["refs"] if ref not in taken(of)] + theirs

    one["refs"], other["refs"] = changed(one, taken(other)), changed(other, taken(one))
    if "txs" in sections:
        one["txs"], other["txs"] = other["txs"], one["txs"]


def steps_exchange(n, m, *sections):
    return lambda report: exchange(step(report, n), step(report, m), sections)


def withdrawals_exchange(n, m):
    """The same for withdrawals and their stakes."""
    def alter(report):
        (one, first), (other, second) = ((step(report, each), withdrawal(report, each)) for each in (n, m))
        for mine, theirs in zip(first, second):
            for of, old, new in ((one, mine, theirs), (other, theirs, mine)):
                of["refs"][of["refs"].index(old)] = new
        for of, old, new in ((one, first, second), (other, second, first)):
            old, new = (report["txs"][int(each[0].split("/")[1])]["txid"] for each in (old, new))
            of["txs"][of["txs"].index(old)] = new

    return alter


def withdrawal(report, n):
    """References to a step's withdrawal and to its stake."""
    ids = [stake["id"] for stake in report["stakes"]]
    for ref in step(report, n)["refs"]:
        section, _, place = ref.partition("/")
        if section == "txs" and report["txs"][int(place)]["kind"] == "withdraw":
            return ref, f"stakes/{ids.index(report['txs'][int(place)]['stake'])}"


def zero_exchange(n, m):
    """The same for blocks of chain zero only."""
    def alter(report):
        zero = {f"finality/{i}" for i, each in enumerate(report["finality"]) if each["chain"] == "zero"}
        one, other = step(report, n), step(report, m)
        first, second = (next(ref for ref in of["refs"] if ref in zero) for of in (one, other))
        one["refs"][one["refs"].index(first)], other["refs"][other["refs"].index(second)] = second, first

    return alter


def vote_left_out(report):
    """The certificate has a quorum without it, if there is such a one."""
    for entry in report["finality"]:
        sats = {member["key"]: member["sat"] for member in entry["set"]["members"]}
        for vote in entry["votes"]:
            if 3 * (sum(sats[each["key"]] for each in entry["votes"]) - sats[vote["key"]]) > 2 * sum(sats.values()):
                return entry["votes"].remove(vote)
    report["finality"][0]["votes"].pop()


def without_state(before, state):
    def alter(report):
        for stake in report["stakes"]:
            states = [told["state"] for told in stake["history"]]
            for i in range(1, len(states) - 1):
                if states[i - 1 : i + 1] == [before, state]:
                    del stake["history"][i]
                    return

    return alter


def end_of_history(report):
    """A stake that gives no power when it is over: no set and no power changes."""
    stake = next(stake for stake in report["stakes"] if stake["history"][-1]["state"] == "WITHDRAWN")
    stake["history"].pop()


def tx_left_out(of):
    """The entry goes, and what stood behind it moves up."""
    def alter(report):
        named = {ref for each in report["steps"] for ref in each["refs"]}
        place = next(i for i, entry in enumerate(report["txs"]) if of(entry) and f"txs/{i}" not in named)
        del report["txs"][place]
        for each in report["steps"]:
            each["refs"] = [moved(ref, place) for ref in each["refs"]]

    return alter


def moved(ref, place):
    section, _, at = ref.partition("/")
    return f"txs/{int(at) - 1}" if section == "txs" and int(at) > place else ref


def earlier_end(n, following):
    """A step ends a block before its last transaction is mined."""
    def alter(report):
        last = max(entry["height"] for entry in entries_of(report, n) if "height" in entry)
        step(report, n)["btc"][1] = step(report, following)["btc"][0] = last - 1

    return alter


def entries_of(report, n):
    return [report["txs"][int(ref.split("/")[1])] for ref in step(report, n)["refs"] if ref.startswith("txs/")]


LIES = {
    "2.2 and 5.2 name each other's final blocks": steps_exchange("2.2", "5.2", "finality"),
    "2.2 and 2.4 name each other's final blocks": steps_exchange("2.2", "2.4", "finality"),
    "6.3 and 6.4 name each other's blocks of chain zero": zero_exchange("6.3", "6.4"),
    "5.2 and 6.3 name each other's blocks of chain zero": zero_exchange("5.2", "6.3"),
    "4.2 and 6.3 name each other's withdrawals": withdrawals_exchange("4.2", "6.3"),
    "4.2 and 4.3 name each other's refusals": steps_exchange("4.2", "4.3", "refused"),
    "a vote of a certificate is left out": vote_left_out,
    "a stake is never WITHDRAWABLE": without_state("ENDING", "WITHDRAWABLE"),
    "an unbonding stake is never EXPOSED": without_state("UNBONDING", "EXPOSED"),
    "a stake is not withdrawn in the end": end_of_history,
    "a stake's transaction is left out": tx_left_out(lambda entry: entry["kind"] == "stake" and not entry["stale"]),
    "a funding was mined only once": tx_left_out(lambda entry: entry["kind"] == "fund" and entry["stale"]),
    "4.1 ends before its withdrawal": earlier_end("4.1", "4.2"),
    "4.2 ends before its withdrawal": earlier_end("4.2", "4.3"),
}
