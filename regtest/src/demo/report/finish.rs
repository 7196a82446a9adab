//! Putting the report together when the story is over, and what must hold before it is written.

use super::log::Log;
use super::{Report, Step, bitcoin, equivocations, finality, hub, reorgs, rules};
use crate::node::Node;
use ::bitcoin::Txid;
use anyhow::{Context as _, ensure};
use palisade_hub::client::HubClient;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where the facts are read back from.
pub struct Sources<'a> {
    /// Directory of the report.
    pub dir: &'a Path,
    /// The node.
    pub node: &'a Node,
    /// The hub.
    pub hub: &'a HubClient,
    /// Directories in which voters keep the hub blocks that they refused.
    pub refusals: &'a [PathBuf],
    /// Ids of stakes, in the order in which the story refers to them.
    pub stakes: &'a [String],
    /// How long the story took.
    pub ms: u128,
}

/// Sections that no story leaves empty.
const ALWAYS: [&str; 7] = ["chains", "params", "fps", "txs", "stakes", "finality", "steps"];
/// What a story with such a transaction must show besides.
const AFTER: [(&str, &[&str]); 3] = [
    ("slash", &["equivocations"]),
    ("withdraw", &["refused"]),
    ("anchor", &["anchors", "timestamps", "files"]),
];
/// Sections of which each step names an entry.
const PROOF: [&str; 6] = ["txs", "finality", "anchors", "reorgs", "refusals", "refused"];

impl Report {
    /// Reads everything back, writes the log and the genesis document beside the report, and gives the report. Fails if a
    /// fact of the story is not there.
    pub async fn finish(mut self, from: &Sources<'_>) -> anyhow::Result<Value> {
        let log = Log::read(from.hub).await?;
        log.write_genesis(&from.dir.join("hub.genesis"))?;
        log.write(&from.dir.join("hub.log"))?;
        rules::check(&log)?;
        self.anchored_headers(&log);
        let txs = bitcoin::transactions(from.node.rpc(), &self.txs, &self.stale).await?;
        let fps = hub::providers(&log);
        let finality = finality::finality(&log, &self.finality)?;
        finality::check_absent(&finality, &self.absent)?;
        let stakes = hub::stakes(&log, from.stakes)?;
        let steps =
            self.steps.iter().map(|step| told(step, &txs, &stakes)).collect::<anyhow::Result<Vec<_>>>()?;
        let report = json!({
            "schema": 1,
            "ok": true,
            "commit": commit(),
            "ms": u64::try_from(from.ms)?,
            "node": bitcoin::node(from.node).await?,
            "hub": hub::hub(&log, "hub.genesis", "hub.log")?,
            "chains": hub::chains(&log),
            "params": hub::params(&log),
            "fps": fps,
            "txs": txs,
            "stakes": stakes,
            "finality": finality,
            "equivocations": equivocations::equivocations(&log, from.hub).await?,
            "refusals": refusals(from.refusals)?,
            "anchors": self.anchors,
            "timestamps": self.timestamps,
            "reorgs": reorgs::reorgs(from.node.rpc(), &log, &self.reorgs).await?,
            "refused": self.refused,
            "files": self.files,
            "steps": steps,
        });
        check(&report)?;
        Ok(report)
    }

    /// The block that each anchor names is shown with its certificate.
    fn anchored_headers(&mut self, log: &Log) {
        let Some(zero) = log.ledger.chains().first() else { return };
        let heights: Vec<u64> = self
            .anchors
            .iter()
            .map(|anchor| zero.terms.last_voted(palisade_protocol::units::Epoch(anchor.epoch)).0)
            .collect();
        for height in heights {
            self.finality("zero", height);
        }
    }
}

/// A step with a reference to each of its transactions and to their stakes.
fn told(step: &Step, txs: &[Value], stakes: &[Value]) -> anyhow::Result<Value> {
    let mut refs: Vec<String> = Vec::new();
    let mut of: Vec<String> = Vec::new();
    for txid in &step.txs {
        let index = place(txid, txs).with_context(|| format!("step {}: {txid} was not told", step.number))?;
        refs.push(format!("txs/{index}"));
        let stake = stakes.iter().position(|stake| stake["id"] == txs[index]["stake"]);
        of.extend(stake.map(|index| format!("stakes/{index}")));
    }
    for reference in of.iter().chain(&step.refs) {
        if !refs.contains(reference) {
            refs.push(reference.clone());
        }
    }
    Ok(json!({
        "n": step.number,
        "claim": step.claim,
        "txs": step.txs,
        "refs": refs,
        "btc": [step.btc.0, step.btc.1],
        "ms": u64::try_from(step.ms)?,
    }))
}

/// Where a transaction stands in the report; the entry that counts is its last.
fn place(txid: &Txid, txs: &[Value]) -> Option<usize> {
    let txid = txid.to_string();
    txs.iter().rposition(|entry| entry["txid"] == *txid)
}

/// Refusals that voters recorded.
fn refusals(dirs: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut entries = Vec::new();
    for dir in dirs.iter().filter(|dir| dir.is_dir()) {
        let mut paths =
            std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let record: Value = serde_json::from_slice(&std::fs::read(&path)?)
                .with_context(|| format!("{} is no refusal", path.display()))?;
            // A block whose messages cannot be applied has no root to compare.
            if record["expected_root"].is_null() {
                continue;
            }
            let fields = ["fp", "height", "header", "expected_root", "message"];
            entries.push(fields.into_iter().map(|field| (field.to_owned(), record[field].clone())).collect());
        }
    }
    Ok(entries)
}

/// The newest commit of the checkout that the program was built in, when the story ended; `unknown` where that is no checkout.
fn commit() -> String {
    git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

/// Whether that checkout has changes that are in no commit, so that the commit alone is not what was run.
pub fn has_uncommitted_changes() -> bool {
    git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty())
}

/// What git says of the checkout; nothing where it cannot.
fn git(args: &[&str]) -> Option<String> {
    let asked = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(args).output();
    let said = asked.ok().filter(|asked| asked.status.success())?;
    Some(String::from_utf8(said.stdout).ok()?.trim().to_owned())
}

/// Where a report has a final block of a chain that is under an anchor, that anchor, and the files that prove it.
pub fn proven(report: &Value, chain: &str, height: &Value, anchor: &Txid) -> anyhow::Result<Vec<String>> {
    let entries = |section: &str| report[section].as_array().map_or(&[][..], Vec::as_slice);
    let block =
        entries("finality").iter().position(|entry| entry["chain"] == chain && entry["height"] == *height);
    let txid = anchor.to_string();
    let above = entries("anchors").iter().position(|entry| entry["txid"] == *txid);
    let tx = place(anchor, entries("txs")).context("the anchor's transaction is in the report")?;
    let mut refs = vec![
        format!("txs/{tx}"),
        format!("finality/{}", block.context("the block is in the report")?),
        format!("anchors/{}", above.context("the anchor is in the report")?),
    ];
    refs.extend(["files/proof", "files/headers", "files/root"].map(str::to_owned));
    Ok(refs)
}

/// Adds a step that ended when the rest was read back already, and how long the whole story took. Gives Bitcoin's tip before
/// and after the step.
pub fn add_step(
    report: &mut Value,
    number: &str,
    claim: &str,
    txs: &[Txid],
    refs: &[String],
    took: Duration,
    all: Duration,
) -> anyhow::Result<(u32, u32)> {
    let last = report["steps"].as_array().and_then(|steps| steps.last()).context("a step before")?;
    let btc =
        [&last["btc"][1], &report["node"]["tip"]["height"]].map(|height| height.as_u64().unwrap_or_default());
    let ms = u64::try_from(took.as_millis())?;
    report["ms"] = json!(u64::try_from(all.as_millis())?);
    let step = json!({ "n": number, "claim": claim, "txs": txs, "refs": refs, "btc": btc, "ms": ms });
    report["steps"].as_array_mut().context("a section of steps")?.push(step);
    check(report)?;
    Ok((u32::try_from(btc[0])?, u32::try_from(btc[1])?))
}

/// What must hold of every report: nothing is missing that the story told, and every step names a fact that is there.
fn check(report: &Value) -> anyhow::Result<()> {
    let size = |section: &str| match &report[section] {
        Value::Array(entries) => entries.len(),
        Value::Null => 0,
        _ => 1,
    };
    let kinds = report["txs"].as_array().into_iter().flatten().filter_map(|entry| entry["kind"].as_str());
    let told = kinds.flat_map(|kind| AFTER.iter().filter(move |(of, _)| *of == kind));
    let wanted = ALWAYS.iter().chain(told.flat_map(|(_, sections)| sections.iter()));
    for section in wanted {
        ensure!(size(section) > 0, "section {section} is empty");
    }
    for step in report["steps"].as_array().into_iter().flatten() {
        let refs: Vec<&str> =
            step["refs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for reference in &refs {
            let there = report.pointer(&format!("/{reference}")).is_some();
            ensure!(there, "step {} names {reference}, which is not there", step["n"]);
        }
        let proven = refs.iter().any(|reference| PROOF.contains(&section_of(reference)));
        ensure!(proven, "step {} names no transaction, vote, anchor, reorganisation or refusal", step["n"]);
    }
    Ok(())
}

fn section_of(reference: &str) -> &str {
    reference.split('/').next().unwrap_or_default()
}

/// Writes the report, whole or not at all.
pub fn write(path: &Path, report: &Value) -> anyhow::Result<()> {
    let unfinished = path.with_extension("json.new");
    std::fs::write(&unfinished, serde_json::to_string_pretty(report)?)?;
    Ok(std::fs::rename(&unfinished, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        json!({
            "chains": [{}], "params": [{}], "fps": [{}], "stakes": [{}], "finality": [{}],
            "txs": [{ "kind": "stake" }],
            "steps": [{ "n": "1.1", "refs": ["txs/0", "fps/0"] }],
        })
    }

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut report = report();
        change(&mut report);
        check(&report).unwrap_err().to_string()
    }

    #[test]
    fn a_report_in_which_all_that_was_told_is_there_passes() {
        check(&report()).unwrap();
    }

    #[test]
    fn a_step_must_name_a_fact_that_is_there() {
        let said = refused(|report| report["steps"][0]["refs"] = json!(["fps/0"]));
        assert!(said.contains("names no transaction"), "{said}");
        let said = refused(|report| report["steps"][0]["refs"] = json!(["txs/0", "reorgs/0"]));
        assert!(said.contains("reorgs/0, which is not there"), "{said}");
    }

    #[test]
    fn a_section_that_the_story_needs_is_not_empty() {
        assert_eq!(refused(|report| report["finality"] = json!([])), "section finality is empty");
        let said = refused(|report| report["txs"][0]["kind"] = json!("slash"));
        assert_eq!(said, "section equivocations is empty");
    }
}
