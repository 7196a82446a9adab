//! What a voter does next when the hub does not take what it sent. Pure; `docs/operations/refusals.md` has the same table.
//!
//! The hub's word decides when the same bytes are sent again, and whether somebody has to look. What is signed next it does
//! not decide: that stands in the own log, so no refusal, true or false, ends a voter or silences a key.

use palisade_hub::client::HubError;
use std::fmt;

/// A door of the hub at which a voter sends something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// `POST /votes`.
    Votes,
    /// `POST /messages`: nothing but commitments.
    Commitments,
    /// `POST /checkpoints`.
    Checkpoints,
}

impl Door {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 3] = [Self::Votes, Self::Commitments, Self::Checkpoints];
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Votes => "the vote at height",
            Self::Commitments => "the nonces for epoch",
            Self::Checkpoints => "the checkpoint of epoch",
        })
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Sent again soon; an alarm if that goes on.
    Again,
    /// Passed over: what comes after it goes on at once. Sent again seldom, because the hub may err.
    Over,
    /// The key is out, the hub says: passed over, and an alarm. It signs nothing more once the own log shows why.
    Stop,
    /// Sent again soon, and an alarm at once: by itself this does not end.
    Alarm,
}

impl Next {
    /// Whether it goes on with what comes after.
    pub fn passes_over(self) -> bool {
        matches!(self, Self::Over | Self::Stop)
    }

    /// Whether somebody has to look at once.
    pub fn rings(self) -> bool {
        matches!(self, Self::Stop | Self::Alarm)
    }
}

const AGAIN: Option<Next> = Some(Next::Again);
const OVER: Option<Next> = Some(Next::Over);
const STOP: Option<Next> = Some(Next::Stop);
const ALARM: Option<Next> = Some(Next::Alarm);

/// Every rule by which the doors refuse, with what is next at each of [`Door::ALL`]; none where that door has no such rule.
pub const RULES: [(&str, [Option<Next>; 3]); 24] = [
    ("busy", [AGAIN; 3]),
    ("storage", [AGAIN; 3]),
    ("starting", [AGAIN; 3]),
    ("request-timeout", [AGAIN; 3]),
    ("unknown-chain", [AGAIN, AGAIN, None]),
    ("unknown-set", [AGAIN, None, AGAIN]),
    ("unknown-provider", [None, AGAIN, None]),
    ("breaker", [AGAIN, None, None]),
    ("commitment-epoch", [None, AGAIN, None]),
    ("not-in-order", [None, None, AGAIN]),
    ("set-expired", [OVER, None, None]),
    ("repeated", [None, OVER, OVER]),
    ("commitment", [None, OVER, None]),
    ("exposed", [STOP, STOP, None]),
    ("equivocation", [STOP, None, None]),
    ("vote", [ALARM, None, None]),
    ("share", [None, None, ALARM]),
    ("conflict", [None, None, ALARM]),
    ("encoding", [ALARM; 3]),
    ("follower", [ALARM; 3]),
    ("malformed-request", [ALARM; 3]),
    ("body-too-large", [ALARM; 3]),
    ("not-found", [ALARM; 3]),
    ("method-not-allowed", [ALARM; 3]),
];

/// What is next after a refusal by a rule that the table has for a door.
pub fn row(door: Door, rule: &str) -> Option<Next> {
    let (_, cells) = RULES.iter().find(|(name, _)| *name == rule)?;
    Door::ALL.iter().zip(cells).find(|(own, _)| **own == door).and_then(|(_, next)| *next)
}

/// What is next after an answer that is no success.
pub fn next(door: Door, why: &HubError) -> Next {
    match why {
        HubError::Unreachable { .. } => Next::Again,
        // Not a hub's words: something stands between, or the address is another's.
        HubError::Malformed(_) => Next::Alarm,
        HubError::Refused { rule, retry, .. } => {
            // A rule of a later hub.
            row(door, rule).unwrap_or(if *retry { Next::Again } else { Next::Alarm })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every text in quotes that a rule's name is given by, in a piece of a source.
    fn quoted<'a>(source: &'a str, marks: &[&str]) -> BTreeSet<&'a str> {
        let source = source.split("#[cfg(test)]").next().unwrap();
        let lines = source.lines().filter(|line| marks.iter().any(|mark| line.contains(mark)));
        let texts = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
        texts.filter(|text| !text.is_empty() && !text.contains([' ', '{', '/', '.'])).collect()
    }

    fn between<'a>(source: &'a str, from: &str, to: &str) -> &'a str {
        source.split(from).nth(1).unwrap().split(to).next().unwrap()
    }

    /// Rules of the ledger by which it refuses a commitment.
    fn of_commitments() -> BTreeSet<&'static str> {
        let rules = include_str!("../../../hub/src/ledger/rejected.rs");
        let judge = include_str!("../../../hub/src/ledger/finality.rs");
        let judge = between(judge, "fn judge_commitment", "fn apply_commitment");
        let names = judge.split("Rejected::").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap();
            rest.get(..end).unwrap()
        });
        // What is no message at all is judged before.
        let names: BTreeSet<&str> = names.chain(["Decode"]).collect();
        assert!(names.len() > 5, "{names:?}");
        let rule_of = |name: &&str| *quoted(rules, &[&format!("Self::{name}")]).first().unwrap();
        names.iter().map(rule_of).collect()
    }

    /// Rules of every door of ours, whatever is sent there.
    fn of_every_door() -> BTreeSet<&'static str> {
        let serve = quoted(include_str!("../../../hub/src/daemon/serve.rs"), &["StatusCode::"]);
        let body = quoted(include_str!("../../../hub/src/daemon/api.rs"), &["StatusCode::", "_ => \""]);
        let api = quoted(include_str!("../../../hub/src/api.rs"), &["StatusCode::", "refused(\""]);
        serve.into_iter().chain(body).chain(api).collect()
    }

    #[test]
    fn every_rule_by_which_the_hubs_doors_refuse_has_a_row_and_no_row_is_of_no_rule() {
        let own = |source, marks| quoted(source, marks);
        let votes = own(include_str!("../../../hub/src/votes.rs"), &["Self::"]);
        let shares = own(include_str!("../../../hub/src/checkpoints.rs"), &["Self::"]);
        let mut known = BTreeSet::new();
        for (door, rules) in Door::ALL.into_iter().zip([votes, of_commitments(), shares]) {
            assert!(rules.len() > 4, "{door:?}: {rules:?}");
            known.extend(rules.iter().map(|rule| (*rule, door)));
        }
        // Of these a voter meets none: it asks for no metrics, and no door of these looks at the kind of a body.
        let others = ["metrics", "content-type"];
        for rule in of_every_door().into_iter().filter(|rule| !others.contains(rule)) {
            known.extend(Door::ALL.map(|door| (rule, door)));
        }
        let rows = RULES.iter().flat_map(|(rule, cells)| {
            let there = Door::ALL.into_iter().zip(cells).filter(|(_, next)| next.is_some());
            there.map(|(door, _)| (*rule, door))
        });
        assert_eq!(rows.collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn the_operators_page_has_the_same_table() {
        let word = |next: &Option<Next>| match next {
            Some(Next::Again) => "again",
            Some(Next::Over) => "over",
            Some(Next::Stop) => "stop",
            Some(Next::Alarm) => "alarm",
            None => "",
        };
        let page = include_str!("../../../docs/operations/refusals.md");
        let shown: BTreeSet<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
            .map(|(rule, cells)| {
                let cells: Vec<&str> = cells.split('|').map(str::trim).take(3).collect();
                format!("{rule}: {}", cells.join(", "))
            })
            .collect();
        let own = RULES.iter().map(|(rule, cells)| {
            let cells: Vec<&str> = cells.iter().map(word).collect();
            format!("{rule}: {}", cells.join(", "))
        });
        assert_eq!(shown, own.collect());
    }

    #[test]
    fn what_no_row_has_is_judged_by_whether_the_hub_says_that_it_can_succeed_later() {
        let refused =
            |rule: &str, retry| HubError::Refused { rule: rule.to_owned(), message: String::new(), retry };
        for (rule, retry, wanted) in [
            ("a-new-rule", true, Next::Again),
            ("a-new-rule", false, Next::Alarm),
            // Known rules are what they are, whatever is said beside them.
            ("set-expired", true, Next::Over),
            ("busy", false, Next::Again),
        ] {
            assert_eq!(next(Door::Votes, &refused(rule, retry)), wanted, "{rule}");
        }
        let (url, why) = ("http://127.0.0.1:1/".to_owned(), "gone".to_owned());
        assert_eq!(next(Door::Votes, &HubError::Unreachable { url, why }), Next::Again);
        assert_eq!(next(Door::Votes, &HubError::Malformed("html".to_owned())), Next::Alarm);
    }
}
