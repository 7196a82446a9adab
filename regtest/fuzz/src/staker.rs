//! A holder's files, and what holders write on the command line.

mod holder;

use crate::{Outcome, Target, process, scratch};
use bitcoin::{Amount, FeeRate, Network};
use clap::{CommandFactory as _, Parser as _};
use palisade_staker::backup::Backup;
use palisade_staker::book::Book;
use palisade_staker::cli::Cli;
use palisade_staker::config::{Config, DEFAULT};
use palisade_staker::exit::Exit;
use palisade_staker::finish::registration_of;
use palisade_staker::journal::Journal;
use palisade_staker::record::StakeRecord;
use palisade_staker::stake::address;
use palisade_staker::when::{Calendar, Moment, Span};
use palisade_staker::{amount, exit};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "staker-words",
        what: "amounts, fee rates, times and addresses as holders write them; what is read is shown again",
        corpus: || {
            [
                "amount 0.5 BTC",
                "amount 50,000 sat",
                "rate 2.5 sat/vB",
                "span 30 days",
                "span 2,000 blocks",
                "span 2027-03-01",
            ]
            .map(|text| text.as_bytes().to_vec())
            .into_iter()
            .chain([format!("address {}", holder::address()).into_bytes()])
            .collect()
        },
        run: words,
    },
    Target {
        name: "staker-command-line",
        what: "a command line, one word a line",
        corpus: || {
            [
                "init\n--network\nregtest\n--hub\nhttp://127.0.0.1:8200\n--cookie\nfile",
                "address",
                "--config\nfile\nbalance",
                "providers\n--json",
                "unbond\nab\n--max-fee\n2,000 sat\n--fee-rate\n2.5",
                "backup\nfile",
                "recover\n--backup\nfile",
                "stake\n--provider\n{key}\n--amount\n0.5 BTC\n--lock\n30 days\n--fee-rate\n2",
                "withdraw\n--backup\nfile\n--cookie\nfile\n--stake\nab\n--to\n{address}",
                "--json\nstatus\nab",
                "extend\nab\n--add\n1 BTC\n--lock\n2027-03-01",
            ]
            .map(|line| {
                line.replace("{key}", &holder::provider())
                    .replace("{address}", &holder::address())
                    .into_bytes()
            })
            .to_vec()
        },
        run: |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return Outcome::Refused };
            Cli::try_parse_from(["palisade-staker"].into_iter().chain(text.split('\n'))).into()
        },
    },
    Target {
        name: "staker-config",
        what: "the wallet's configuration; with other paths it is one too",
        corpus: || vec![DEFAULT.into()],
        run: process::configuration::<Config>,
    },
    Target {
        name: "staker-book",
        what: "the book of stakes: each record holds together, and the ways out of its stake can be built",
        corpus: || vec![holder::book()],
        run: |bytes| {
            let Ok(book) = Book::open(&scratch::file("book.json", bytes)) else { return Outcome::Refused };
            let _ = book.find("a");
            book.stakes().iter().for_each(leave);
            Outcome::Accepted
        },
    },
    Target {
        name: "staker-backup",
        what: "a wallet's backup, from wherever it comes: the same, and its key",
        corpus: || vec![holder::backup()],
        run: backup,
    },
    Target {
        name: "staker-journal",
        what: "the wallet's memory, with a line that was torn off",
        corpus: || vec![holder::journal()],
        run: |bytes| Journal::open(&scratch::file("wallet.jsonl", bytes)).into(),
    },
];

/// The holder's commands.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

fn words(bytes: &[u8]) -> Outcome {
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once(' '));
    let Some((kind, text)) = text else { return Outcome::Refused };
    match kind {
        "amount" => amount::parse(text).inspect(shown).into(),
        "rate" => amount::parse_fee_rate(text).inspect(shown_rate).into(),
        "span" => span(text),
        "address" => address(text, Network::Regtest).into(),
        _ => Outcome::Refused,
    }
}

fn shown(found: &Amount) {
    assert_eq!(amount::parse(&found.to_string()).as_ref(), Ok(found));
}

fn shown_rate(found: &FeeRate) {
    assert_eq!(amount::parse_fee_rate(&amount::show_fee_rate(*found)).as_ref(), Ok(found));
}

fn span(text: &str) -> Outcome {
    let now = Moment(1_795_262_400);
    let blocks = Span::parse(text).and_then(|span| span.blocks(now));
    if let Ok(blocks) = blocks {
        let calendar = Calendar::from(now, Network::Signet);
        assert!(!calendar.blocks(blocks.get().into()).is_empty());
        assert!(!calendar.height(u32::MAX, blocks.get().into()).is_empty());
    }
    blocks.into()
}

/// What is done with a record that was read: whatever it says, it is refused or carried out.
fn leave(record: &StakeRecord) {
    let contract = record.contract().expect("it was checked");
    let _ = (record.change(), record.name(), registration_of(record), record.sighashes(&contract));
    for exit in Exit::all(&contract, record.presigned().as_ref()) {
        let _ = exit.withdraw(&holder::key(), &holder::script(), FeeRate::BROADCAST_MIN);
    }
    if let Some(presigned) = record.presigned() {
        let _ = exit::unbond(&contract, &presigned, &holder::key(), &record.unbonding_signatures);
    }
}

fn backup(bytes: &[u8]) -> Outcome {
    let path = scratch::file("backup.json", bytes);
    let Ok(backup) = Backup::read(&path) else { return Outcome::Refused };
    let _ = backup.stake("a");
    backup.stakes().iter().for_each(leave);
    let password = scratch::file("backup.password", process::PASSWORD.as_bytes());
    let keys = backup.keys(&path, Some(password));
    if let Ok(keys) = &keys {
        for record in backup.stakes() {
            let _ = keys.staking(record.key_index);
        }
    }
    keys.into()
}
