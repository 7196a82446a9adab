//! A committee member's files.

use crate::story::story;
use crate::{Target, process, rows, scratch, whole};
use palisade_covenant::audit::{Act, Audit, Entry, Record};
use palisade_covenant::config::{Config, DEFAULT};
use palisade_protocol::units::BtcHeight;
use palisade_world::COVENANT;
use std::path::Path;

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
            LOG.with(|log| rows::altered(log, bytes, |path| read(path).is_ok()))
        },
    },
    Target {
        name: "covenant-audit-file",
        what: "a member's audit log as a damaged file: what is read of it is the beginning of what was written",
        corpus: || whole::corpus(&log()),
        run: |bytes| whole::read(bytes, read),
    },
];

/// All that a member reads. No entry is other than it was written: each follows from the one before.
fn read(path: &Path) -> anyhow::Result<()> {
    thread_local! {
        static WRITTEN: Vec<Entry> = {
            let path = scratch::file("written.sqlite", &log());
            Audit::open(&path).and_then(|audit| audit.entries()).expect("a log")
        };
    }
    let audit = Audit::open(path)?;
    let entries = audit.entries()?;
    WRITTEN.with(|written| assert!(written.starts_with(&entries), "other entries than were written"));
    audit.signed_since(BtcHeight(0))?;
    entries.first().map(|first| audit.answer(&first.stake, Act::Signed)).transpose()?;
    Ok(())
}

/// What was done, in a log that can be read.
pub(crate) fn acts(database: &[u8]) -> Vec<Act> {
    let audit = Audit::open(&scratch::file("acts.sqlite", database));
    let entries = audit.and_then(|audit| audit.entries()).unwrap_or_default();
    entries.iter().map(|entry| entry.act).collect()
}

/// The log of a member that has signed for one stake, refused another, and consented to an expansion.
fn log() -> Vec<u8> {
    let world = &story().world;
    let mut stakes = world.ledger.stakes().iter();
    let (signed, refused) = (stakes.next().expect("a stake"), stakes.next().expect("a stake"));
    let consent = story().told[&5][0].bytes.decode().expect("consent");
    let expanding = stakes.next().expect("a stake");
    let answers = [
        (signed, Act::Signed, "", world.answer(COVENANT[0], signed)),
        (refused, Act::Refused, "not this one", world.refusal(COVENANT[0], &refused.id, "not this one")),
        (expanding, Act::Consented, "", consent),
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
