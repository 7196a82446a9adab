//! What `make fuzz` rests on: every door has a target, every target lets its corpus through, and whoever breaks is noticed.

mod bitcoind;
mod doors;
mod forms;
mod wires;

use palisade_fuzz::prove::{BROKEN, Broken, corpus, run, survives};
use palisade_fuzz::{Outcome, Target, all, find};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Mutations of each target: a moment. `make fuzz` takes half an hour.
const MUTATIONS: usize = 300;

/// What breaks a target, if something does.
fn judged(target: &Target) -> Result<(), Broken> {
    let corpus = corpus(target)?;
    survives(target, &corpus, MUTATIONS)
}

#[test]
fn every_target_accepts_its_corpus_and_survives_mutations_of_it() {
    let targets = all();
    let waiting = Mutex::new(targets.iter());
    let next = || waiting.lock().unwrap().next();
    let broken = Mutex::new(Vec::new());
    let work = || {
        while let Some(target) = next() {
            let started = std::time::Instant::now();
            let judged = judged(target);
            println!("{}: {} ms", target.name, started.elapsed().as_millis());
            broken.lock().unwrap().extend(judged.err());
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let broken: Vec<String> = broken.into_inner().unwrap().iter().map(Broken::to_string).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_target_that_panics_refuses_its_corpus_or_has_none_is_reported() {
    assert!(judged(&BROKEN).is_ok(), "mutations of a calm find no storm");
    let panics = run(&BROKEN, b"storm");
    assert!(
        matches!(&panics, Err(Broken::Panic { target: "broken-on-purpose", input }) if input == b"storm")
    );
    let always = Target { run: |_| panic!("always"), ..BROKEN };
    assert!(matches!(judged(&always), Err(Broken::Panic { .. })));
    let sometimes =
        Target { run: |bytes| (assert!(bytes == b"calm", "not calm"), Outcome::Accepted).1, ..BROKEN };
    assert!(matches!(judged(&sometimes), Err(Broken::Panic { .. })));
    let refuses = Target { run: |_| Outcome::Refused, ..BROKEN };
    assert!(matches!(judged(&refuses), Err(Broken::Refused { place: 0, .. })));
    let nothing = Target { corpus: Vec::new, ..BROKEN };
    assert!(matches!(judged(&nothing), Err(Broken::NoCorpus(_))));
}

#[test]
fn targets_have_names_of_their_own_and_the_page_has_a_line_for_each() {
    let page = include_str!("../../../../docs/fuzzing.md");
    let names: BTreeSet<&str> = all().iter().map(|target| target.name).collect();
    assert_eq!(names.len(), all().len());
    for target in all() {
        assert!(
            target.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "{}",
            target.name
        );
        let line = format!("| `{}` | {} |", target.name, target.what);
        assert!(page.contains(&line), "docs/fuzzing.md lacks\n{line}");
        assert!(find(target.name).is_some());
    }
    let lines = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(lines, names.len(), "the page has a line for a target that there is not");
}
