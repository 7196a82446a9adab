//! How fast Palisade is, beside libsecp256k1 in the same run: the table of docs/design.md, section 11.
//!
//! Every figure is the median of several rounds; where there is a floor, its rounds lie between ours. Compare within a
//! run only: machines differ, and are noisy. So a missed target is shown and is no failure. The Go figures are cited.

mod behind;
mod crowd;
mod first_final;
mod growth;
mod idle;
mod measure;
mod signing;
mod stakes;
mod table;
mod votes;

use table::Row;

/// Measures something; whether in full, `BENCH_FULL` says.
type Part = fn(bool) -> Vec<Row>;

/// What is measured, by name: `BENCH_ONLY` picks one.
const PARTS: [(&str, Part); 7] = [
    ("signing", |_| signing::rows()),
    ("votes", |_| votes::rows()),
    ("stakes", |_| stakes::rows()),
    ("growth", growth::rows),
    ("idle", |_| idle::rows()),
    ("behind", |_| behind::rows()),
    ("first-final", |_| first_final::rows()),
];

fn main() {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (only, full) = (given("BENCH_ONLY"), given("BENCH_FULL").is_some_and(|value| value != "0"));
    let wanted = PARTS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    let rows: Vec<Row> = wanted.flat_map(|(_, rows)| rows(full)).collect();
    println!("{}", table::render(&rows));
}
