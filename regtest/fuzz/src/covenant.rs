//! A committee member's files.

use crate::story::story;
use crate::{Target, process, rows, scratch};
use palisade_covenant::audit::{Act, Audit, Record};
use palisade_covenant::config::{Config, DEFAULT};
use palisade_protocol::units::BtcHeight;
use palisade_world::COVENANT;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "covenant-config",
        what: "a member's configuration; with other paths it is one too",
        corpus: || vec![DEFAULT.into()],
        run: process::configuration::<Config>,
    },
    Target {
        name: "covenant-audit-rows",
        what: "a member's audit log with a row that somebody else wrote: it is refused unless it says what it said",
        corpus: || rows::corpus(&log()),
        run: |bytes| {
            thread_local! {
                static LOG: Vec<u8> = log();
            }
            LOG.with(|log| {
                rows::altered(log, bytes, |path| {
                    let Ok(audit) = Audit::open(path) else { return false };
                    let entries = audit.entries().expect("it was checked");
                    audit.signed_since(BtcHeight(0)).is_ok()
                        && audit.answer(&entries[0].stake, Act::Signed).is_ok()
                })
            })
        },
    },
];

/// The log of a member that has signed for one stake and refused another.
fn log() -> Vec<u8> {
    let world = &story().world;
    let mut stakes = world.ledger.stakes().iter();
    let (signed, refused) = (stakes.next().expect("a stake"), stakes.next().expect("a stake"));
    let answers = [
        (signed, Act::Signed, "", world.answer(COVENANT[0], signed)),
        (refused, Act::Refused, "not this one", world.refusal(COVENANT[0], &refused.id, "not this one")),
    ];
    scratch::written("audit.sqlite", |path| {
        let mut audit = Audit::open(path).expect("a log");
        for (stake, act, reason, message) in &answers {
            let amount = stake.contract.coin.value;
            let (stake, btc_height) = (stake.id, BtcHeight(20));
            audit.append(&Record { stake, act: *act, btc_height, amount, reason, message }).expect("a place");
        }
    })
}
