//! Every form of every value that is read has an input that is taken.

use crate::wires::sources;
use palisade_fuzz::forms::{self, Forms};
use palisade_fuzz::{find, prove};
use std::collections::BTreeSet;

/// The inputs of a target, all of which it takes.
fn taken(forms: &Forms) -> Vec<Vec<u8>> {
    prove::corpus(&find(forms.target).unwrap()).unwrap()
}

#[test]
fn every_form_of_what_a_target_reads_is_in_an_input_that_it_takes() {
    let mut lacking = Vec::new();
    for forms in forms::all() {
        let corpus = taken(&forms);
        lacking.extend(forms.missing(&corpus).into_iter().map(|form| (forms.target, form)));
        let found = corpus.iter().flat_map(|input| (forms.of)(input));
        let unknown: Vec<_> = found.filter(|form| !forms.all.contains(form)).collect();
        assert!(unknown.is_empty(), "{}: nobody asks for {unknown:?}", forms.target);
    }
    assert!(lacking.is_empty(), "no input has these: {lacking:#?}");
}

#[test]
fn a_form_that_no_input_has_is_named() {
    for forms in forms::all() {
        let corpus = taken(&forms);
        for form in &forms.all {
            let has = |input: &&Vec<u8>| (forms.of)(input).contains(form);
            let rest: Vec<_> = corpus.iter().filter(|input| !has(input)).cloned().collect();
            assert!(forms.missing(&rest).contains(form), "{}: {form}", forms.target);
        }
        let all: BTreeSet<_> = forms.all.iter().collect();
        assert_eq!(all.len(), forms.all.len(), "{}: two forms of one name", forms.target);
    }
}

/// The names of what a mark in our sources gives several variants on the wire.
fn enums() -> BTreeSet<String> {
    let sources = sources();
    let named = |code: &str| {
        let marked =
            code.split("wire_enum!(").skip(1).map(|rest| rest.split([' ', '{']).next().unwrap().to_owned());
        marked.filter(|name| name.starts_with(char::is_uppercase)).collect::<Vec<_>>()
    };
    sources.iter().flat_map(|(_, code)| named(code)).collect()
}

#[test]
fn every_enum_on_the_wire_has_a_table_of_forms() {
    let tables = include_str!("../../src/forms/tables.rs");
    let enums = enums();
    assert!(enums.contains("Message") && enums.contains("Answer") && enums.len() >= 7, "{enums:?}");
    let has = |name: &&String| tables.contains(&format!("(it: {name}) => it, {{"));
    let missing: Vec<_> = enums.iter().filter(|name| !has(name)).collect();
    assert!(missing.is_empty(), "src/forms/tables.rs has no table for {missing:?}");
}
