//! How fast Palisade is, beside libsecp256k1 in the same run: the table of docs/design.md, section 11.
//!
//! Every figure is the median of several rounds; where there is a floor, its rounds lie between ours. Compare within a
//! run only: machines differ, and are noisy. So a missed target is shown and is no failure. The Go figures are cited.

mod crowd;
mod first_final;
mod growth;
mod idle;
mod measure;
mod signing;
mod stakes;
mod table;
mod votes;

fn main() {
    let full = std::env::var_os("BENCH_FULL").is_some_and(|value| !value.is_empty() && value != "0");
    let mut rows = signing::rows();
    rows.extend(votes::rows());
    rows.extend(stakes::rows());
    rows.extend(growth::rows(full));
    rows.extend(idle::rows());
    rows.extend(first_final::rows());
    println!("{}", table::render(&rows));
}
