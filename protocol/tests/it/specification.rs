//! Comments cite the specification by the titles of its sections: each cited title must be one.

#![allow(clippy::disallowed_methods, reason = "the workspace's sources are what is tested")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGE: &str = "docs/protocol.md";

/// Every Rust file of the workspace's crates, build output left out.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The titles that a file cites: what follows the page's name and a comma, also on the next line of a comment.
fn cited(text: &str) -> Vec<String> {
    let words = text.split_whitespace().filter(|word| !matches!(*word, "//!" | "///" | "//"));
    let line = words.collect::<Vec<_>>().join(" ");
    let citation = format!("{PAGE}, ");
    let titles = line.split(&citation).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != ' ' && c != '-');
        rest[..end.unwrap_or(rest.len())].trim().to_owned()
    });
    titles.filter(|title| title.starts_with(char::is_uppercase)).collect()
}

/// Titles of the page's sections, without hashes and numbers.
fn titles(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches(|c: char| !c.is_alphabetic()).to_owned()).collect()
}

#[test]
fn every_section_that_a_comment_cites_is_in_the_specification() {
    let root = Path::new(ROOT);
    let titles = titles(&fs::read_to_string(root.join(PAGE)).expect("the specification"));
    let mut files = Vec::new();
    sources(root, &mut files);
    let mut by_title: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.ends_with(file!().rsplit('/').next().unwrap())) {
        for title in cited(&fs::read_to_string(file).expect("a readable source")) {
            by_title.entry(title).or_default().insert(file.clone());
        }
    }
    assert!(by_title.len() >= 12, "found too few citations, so the search is wrong: {by_title:?}");
    let missing: Vec<_> = by_title.iter().filter(|(title, _)| !titles.contains(*title)).collect();
    assert!(missing.is_empty(), "no such section in {PAGE}: {missing:#?}");
}

#[test]
fn a_title_is_read_to_its_end_and_across_lines() {
    let text =
        "//! trees (docs/protocol.md, Trees), and more. Source: docs/protocol.md,\n//! Adaptor signatures.\n";
    assert_eq!(cited(text), ["Trees", "Adaptor signatures"]);
    assert_eq!(cited("docs/protocol.md, which is a page. `docs/protocol.md`; nothing"), Vec::<String>::new());
}

#[test]
fn sections_are_numbered_in_order_and_no_title_stands_twice() {
    let page = fs::read_to_string(Path::new(ROOT).join(PAGE)).expect("the specification");
    let (mut chapter, mut section) = (0, 0);
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with('#')).skip(1) {
        let (number, title) = line.trim_start_matches(['#', ' ']).split_once(' ').expect("number and title");
        if line.starts_with("# ") {
            (chapter, section) = (chapter + 1, 0);
            assert_eq!(number, format!("{chapter}."), "{line}");
        } else {
            section += 1;
            assert_eq!(number, format!("{chapter}.{section}"), "{line}");
        }
        assert!(seen.insert(title), "{title} stands twice");
    }
    assert!(seen.len() >= 30, "{seen:?}");
}
