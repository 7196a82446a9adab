//! Comments cite the specification by the numbers of its sections: each cited number must be one, and each section is cited by
//! the code that keeps it.

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

/// What follows the page's name and a comma wherever a file names it, also on the next line of a comment.
fn citations(text: &str) -> Vec<String> {
    let words = text.split_whitespace().filter(|word| !matches!(*word, "//!" | "///" | "//"));
    let line = words.collect::<Vec<_>>().join(" ");
    line.split(&format!("{PAGE}, ")).skip(1).map(str::to_owned).collect()
}

/// The numbers at the front of a citation: `section 7.1`, `sections 7.1 and 7.3`, `sections 5.4 to 5.7`.
fn numbers(citation: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_range = false;
    let list = citation.strip_prefix("sections ").or_else(|| citation.strip_prefix("section "));
    for word in list.unwrap_or_default().split(' ') {
        let number = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        if number.starts_with(|c: char| c.is_ascii_digit()) {
            let last = found.last().cloned().filter(|_| is_range);
            found.extend(last.into_iter().flat_map(|last| between(&last, number)));
            found.push(number.to_owned());
        }
        is_range = word == "to";
        if !matches!(word, "and" | "to") && word.trim_end_matches(',') != number {
            break;
        }
    }
    found
}

/// The sections of a chapter that lie between two.
fn between(first: &str, last: &str) -> Vec<String> {
    let split = |number: &str| {
        let (chapter, section) = number.split_once('.').expect("a section");
        (chapter.to_owned(), section.parse::<u32>().expect("a number"))
    };
    let ((chapter, first), (_, last)) = (split(first), split(last));
    (first + 1..last).map(|section| format!("{chapter}.{section}")).collect()
}

/// Numbers of the page's chapters and sections.
fn sections(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).skip(1);
    let numbers = headings.map(|line| line.trim_start_matches(['#', ' ']).split(' ').next());
    numbers.map(|number| number.expect("a number").trim_end_matches('.').to_owned()).collect()
}

/// Every number that is cited, and the files that cite it.
fn cited(root: &Path) -> BTreeMap<String, BTreeSet<PathBuf>> {
    let mut files = Vec::new();
    sources(root, &mut files);
    let mut by_number: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.ends_with(file!().rsplit('/').next().unwrap())) {
        for citation in citations(&fs::read_to_string(file).expect("a readable source")) {
            let numbers = numbers(&citation);
            assert!(!numbers.is_empty(), "{} cites no number: {citation:.40}", file.display());
            for number in numbers {
                by_number.entry(number).or_default().insert(file.clone());
            }
        }
    }
    by_number
}

#[test]
fn every_section_that_a_comment_cites_is_in_the_specification() {
    let root = Path::new(ROOT);
    let sections = sections(&fs::read_to_string(root.join(PAGE)).expect("the specification"));
    let cited = cited(root);
    let missing: Vec<_> = cited.iter().filter(|(number, _)| !sections.contains(*number)).collect();
    assert!(missing.is_empty(), "no such section in {PAGE}: {missing:#?}");
}

#[test]
fn every_section_of_the_specification_is_cited_by_the_code_that_keeps_it() {
    let root = Path::new(ROOT);
    let cited = cited(root);
    let is_code = |file: &PathBuf| {
        let tests = |part: std::path::Component<'_>| part.as_os_str() == "tests";
        !file.strip_prefix(root).expect("below the root").components().any(tests)
    };
    let by_code = |number: &str| cited.get(number).is_some_and(|files| files.iter().any(is_code));
    let page = fs::read_to_string(root.join(PAGE)).expect("the specification");
    let sections = sections(&page).into_iter().filter(|number| number.contains('.'));
    let missing: Vec<_> = sections.filter(|number| !by_code(number)).collect();
    assert!(missing.is_empty(), "no code cites {missing:?}");
}

#[test]
fn citations_are_read_to_their_end_and_across_lines() {
    let text = "//! trees (docs/protocol.md, section 1.4), and more. Source: docs/protocol.md,\n//! sections 7.1, 7.4\n//! and 8.2. 9.1";
    let found: Vec<_> = citations(text).iter().map(|citation| numbers(citation)).collect();
    assert_eq!(found, [vec!["1.4"], vec!["7.1", "7.4", "8.2"]]);
    assert_eq!(numbers("sections 5.4 to 5.7)"), ["5.4", "5.5", "5.6", "5.7"]);
    assert_eq!(numbers("section 7: two things"), ["7"]);
    assert_eq!(numbers("Trees"), Vec::<String>::new());
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
