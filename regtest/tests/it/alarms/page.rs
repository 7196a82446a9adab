//! The page of alarms has a section for each that shipped programs are shown to ring, and no other; so have the programs.

use super::network::OF_THE_NETWORK;
use std::collections::BTreeSet;
use std::path::Path;

/// Alarms of a hub about what it records.
pub const OF_THE_RECORD: [&str; 4] = ["breaker", "finality", "anchors", "covenant"];

/// Alarms of a hub that are rung where its starts are (`starts.rs`, `lost_hub.rs`). All programs have the first one.
const OF_THE_START: [&str; 2] = ["start", "followers"];

/// An alarm of voters that is rung where the hub's Bitcoin is another one (`reorgs/network.rs`).
const OF_BRANCHES: (&str, &str) = ("palisade-finality-provider", "judge");

/// An alarm of voters that is rung where the hub takes nothing of theirs (`untaken.rs`).
const OF_ANSWERS: (&str, &str) = ("palisade-finality-provider", "refused");

const PAGE: &str = include_str!("../../../../docs/operations/alarms.md");

/// Programs and the directories of their sources.
const PROGRAMS: [(&str, &str); 4] = [
    ("palisade-hub", "hub"),
    ("palisade-covenant", "covenant"),
    ("palisade-finality-provider", "finality-provider"),
    ("palisade-checkpointer", "checkpointer"),
];

/// The text of all sources of a crate, without its tests.
fn source(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let text = entries.map(|path| match path.file_name().and_then(|name| name.to_str()) {
        Some("tests" | "tests.rs" | "model" | "model.rs") => String::new(),
        _ if path.is_dir() => source(&path),
        _ => {
            let text = std::fs::read_to_string(&path).unwrap();
            text.split("#[cfg(test)]").next().unwrap().to_owned()
        }
    });
    text.collect()
}

/// The parts that a source says to be degraded, where it names them in place.
fn named(source: &str) -> impl Iterator<Item = &str> {
    let after = source.split(".degrade(").skip(1).map(str::trim_start);
    after.filter_map(|rest| rest.strip_prefix('"')?.split('"').next())
}

#[test]
fn the_page_says_what_to_do_for_each_rule_for_prometheus_and_names_no_other() {
    let rules = include_str!("../../../../docs/operations/alerts.yml").lines();
    let rules: BTreeSet<_> = rules.filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let table = PAGE.split("## palisade-hub").next().unwrap();
    let named: BTreeSet<_> = table.split('`').filter(|word| word.starts_with("Palisade")).collect();
    assert!(!rules.is_empty());
    assert_eq!(named, rules);
}

#[test]
fn the_page_of_alarms_has_a_section_for_each_that_rings_and_the_programs_have_no_other() {
    let of_the_hub = OF_THE_RECORD.into_iter().chain(OF_THE_START).map(|part| ("palisade-hub", part));
    let rung: BTreeSet<_> = of_the_hub.chain(OF_THE_NETWORK).chain([OF_BRANCHES, OF_ANSWERS]).collect();
    let sections = PAGE.lines().filter_map(|line| line.strip_prefix("### ")?.split_once(": "));
    assert_eq!(sections.collect::<BTreeSet<_>>(), rung);

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (program, directory) in PROGRAMS {
        let source = source(&root.join(directory).join("src"));
        let own = named(&source).collect::<BTreeSet<_>>();
        assert!(!own.is_empty() || program == "palisade-checkpointer", "{program}");
        for part in own {
            assert!(
                rung.contains(&(program, part)),
                "{program}: {part} has no section, and nothing rings it"
            );
        }
        for (_, part) in rung.iter().filter(|(of, _)| *of == program) {
            assert!(source.contains(&format!("\"{part}\"")), "{program} has no {part}");
        }
    }
}
