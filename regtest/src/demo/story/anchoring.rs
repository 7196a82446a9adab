//! Step 3: a digest is timestamped, the epoch that covers it is anchored, confirmed and final, and a block of the development
//! chain is proven final and anchored from files alone, when hub and daemons are off.

use super::{Step, Story};
use crate::demo::network::{string, text};
use crate::demo::report::{self, Anchor, Files, Timestamp};
use crate::demo::tell::{Shown, ShownTx, Waiting, btc};
use crate::process::json_tool;
use anyhow::{Context as _, ensure};
use bitcoin::Txid;
use palisade_protocol::anchor::Anchor as Payload;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::timestamp::TimestampFile;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What is timestamped.
const DOCUMENT: &str = "A palisade is a wall made of stakes.\n";

impl Story {
    /// Steps 3.1 and 3.2.
    pub(super) async fn an_epoch_is_anchored(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("3. Bitcoin as a witness");
        let mut step = self.begin("3.1").await?;
        let digest = self.stamp().await?;
        let anchored = self.until_anchored(&digest).await?;
        let anchor = self.read_anchor(anchored["epoch"].as_u64().context("an epoch")?).await?;
        let (epoch, txid) = (anchor.epoch, anchor.txid);
        let mined = self.mined_at(txid).await?.context("the anchor is in a block")?;
        self.tell.line(format!(
            "epoch {epoch} is anchored in {txid}, in block {mined}, signed by {} members",
            anchor.signers.len()
        ));
        step.txs.push(txid);
        step.refs.push(self.report.anchor(anchor));
        for (depth, state) in [("k", "CONFIRMED"), ("w", "FINAL")] {
            let blocks = self.mine_until(&digest, state).await?;
            let tip = self.network.node.rpc().tip().await?.height;
            self.tell.line(format!("at height {tip} the anchor is at depth {depth} = {blocks}: {state}"));
        }
        self.done(step, "An epoch is anchored, confirmed, final").await?;
        self.digest_gets_its_file(&digest, txid).await
    }

    /// Sends the digest of a document.
    async fn stamp(&mut self) -> anyhow::Result<Hash32> {
        let digest = sha256(&[DOCUMENT.as_bytes()]);
        std::fs::write(self.network.dir.join("document.txt"), DOCUMENT)?;
        let url = format!("{}/timestamps", self.network.hub_url);
        let answer = reqwest::Client::new().post(url).json(&json!({ "digest": digest })).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        self.tell.line(format!("digest {digest} is in hub block {}", answer["hub_height"]));
        Ok(digest)
    }

    /// Mines whenever an anchor waits for a block, until one covers the digest. Gives what the hub says of it.
    async fn until_anchored(&mut self, digest: &Hash32) -> anyhow::Result<Value> {
        let path = format!("timestamps/{digest}");
        let _waiting = Waiting::until("an anchor covers the digest");
        let began = Instant::now();
        loop {
            self.network.check()?;
            let view = self.network.view(&path).await?;
            if view["state"] != "RECORDED" {
                return Ok(view);
            }
            ensure!(began.elapsed() < Duration::from_secs(90), "no anchor covers the digest: {view}");
            let waiting: Vec<Txid> = self.network.node.rpc().call("getrawmempool", json!([])).await?;
            if waiting.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            } else {
                self.mine(1, "the anchor confirms").await?;
                self.until_told(&waiting).await?;
            }
        }
    }

    /// Waits until the hub has recorded an anchor among these transactions, which are in blocks now.
    async fn until_told(&mut self, mined: &[Txid]) -> anyhow::Result<()> {
        for txid in mined {
            let found =
                self.network.node.rpc().raw_transaction(*txid).await?.context("it was in the mempool")?;
            let Ok((_, payload)) = Payload::find(&found.transaction) else { continue };
            let recorded = |status: &Value| status["anchored_epoch"].as_u64() >= Some(payload.epoch.0);
            self.network.until("the hub has recorded the anchor", recorded).await?;
        }
        Ok(())
    }

    /// Mines until the anchor that covers a digest is as deep as a state says. Gives that depth.
    async fn mine_until(&mut self, digest: &Hash32, state: &str) -> anyhow::Result<u64> {
        let params = self.network.view("params").await?;
        let name = if state == "FINAL" { "w" } else { "k" };
        let wanted = params[0]["params"][name].as_u64().context("a depth")?;
        let path = format!("timestamps/{digest}");
        let depth = self.network.view(&path).await?["anchor"]["depth"].as_u64().context("an anchor")?;
        let left = u32::try_from(wanted.saturating_sub(depth))?;
        self.mine(left, &format!("the anchor becomes {state}")).await?;
        let there = |view: &Value| view["state"] == state;
        self.network.until_view(&path, &format!("the anchor is {state}"), there).await?;
        Ok(wanted)
    }

    /// An epoch's anchor as it stands on Bitcoin, with what the hub says of its signers.
    async fn read_anchor(&mut self, epoch: u64) -> anyhow::Result<Anchor> {
        let checkpoint = self.network.view(&format!("checkpoints/{epoch}")).await?;
        let said = &checkpoint["anchor"];
        let txid: Txid = string(said, "txid")?.parse()?;
        let found =
            self.network.node.rpc().raw_transaction(txid).await?.context("the anchor is on Bitcoin")?;
        let (vout, payload) = Payload::find(&found.transaction)?;
        ensure!(payload.epoch.0 == epoch, "{txid} anchors epoch {}", payload.epoch);
        self.report.tx(txid, "anchor", None, None);
        let signers = said["signers"].as_array().context("signers")?;
        Ok(Anchor {
            epoch,
            header: payload.header.to_string(),
            context: string(&checkpoint, "context")?,
            payload: hex::encode(payload.to_bytes()),
            txid,
            vout,
            signers: signers.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// The digest's standard file, verified against the node's own headers.
    async fn digest_gets_its_file(&mut self, digest: &Hash32, txid: Txid) -> anyhow::Result<()> {
        let mut step = self.begin("3.2").await?;
        let bytes = self.network.hub.get_bytes(&format!("timestamps/{digest}/ots")).await?;
        let (file, ots) = ("document.txt".into(), "document.txt.ots".into());
        std::fs::write(self.network.dir.join(&ots), &bytes)?;
        let rpc = self.network.node.rpc();
        let tip = rpc.tip().await?.height;
        let mut headers = Vec::new();
        while headers.len() <= tip as usize {
            headers.extend(rpc.headers(headers.len() as u32, palisade_hub::bitcoind::MAX_HEADERS).await?);
        }
        let header = |height: u32| headers.get(height as usize).copied();
        let attested = TimestampFile::parse(&bytes)?.verify(digest, header)?;
        self.tell.line(format!(
            "its .ots file of {} bytes leads to Bitcoin block {}: {}",
            bytes.len(),
            attested.height,
            text(&self.network.dir.join(&ots)),
        ));
        let digest = digest.to_string();
        step.txs.push(txid);
        step.refs.push(self.report.timestamp(Timestamp { digest, file, ots, txid }));
        step.refs.push("anchors/0".to_owned());
        self.done(step, "A digest gets its standard .ots file, which leads to a block of the node").await
    }

    /// Step 3.3, first half: the files that prove a block of the development chain final, while there is somebody to ask.
    pub(super) async fn files_for_the_proof(&mut self) -> anyhow::Result<Step> {
        let step = self.begin("3.3").await?;
        let chain = self.chain.id.clone();
        let height = self.provable(&chain).await?;
        let params = self.network.view("params").await?;
        let depth = params[0]["params"]["w"].as_u64().context("a depth")?;
        self.mine(u32::try_from(depth)?, "the anchor above the proven block becomes final").await?;
        let (out, rpc) = (text(&self.network.dir.join("proof")), self.network.node.rpc_url());
        let (cookie, height_text) = (text(&self.network.node.cookie_path()), height.to_string());
        let place = ["--out", &out, "--hub", &self.network.hub_url, "--bitcoin", &rpc, "--cookie", &cookie];
        let block = ["--json", "prove", "--chain", &chain, "--height", &height_text];
        let made = json_tool("palisade-checkpointer", &[&block[..], &place].concat()).await?;
        let file = |name: &str| anyhow::Ok(std::path::PathBuf::from(string(&made, name)?));
        self.report.files(Files { proof: file("proof")?, headers: file("headers")?, root: file("root")? });
        self.report.finality(&chain, height);
        let anchor: Txid = string(&made["shown"], "anchor_txid")?.parse()?;
        let found =
            self.network.node.rpc().raw_transaction(anchor).await?.context("the anchor is on Bitcoin")?;
        let (_, payload) = Payload::find(&found.transaction)?;
        let anchor = self.read_anchor(payload.epoch.0).await?;
        self.report.anchor(anchor);
        Ok(step)
    }

    /// The newest height of a chain whose certificate is under an anchor.
    async fn provable(&self, chain: &str) -> anyhow::Result<u64> {
        let chains = self.network.view("chains").await?;
        let own = chains.as_array().into_iter().flatten().find(|own| own["id"] == chain);
        let newest = own.and_then(|own| own["final_height"].as_u64()).context("a final block")?;
        let step = usize::try_from(self.chain.voted_every)?;
        for height in (0..=newest).rev().step_by(step) {
            if self.network.hub.get_bytes(&format!("proofs/{chain}/{height}")).await.is_ok() {
                return Ok(height);
            }
        }
        anyhow::bail!("no block of chain {chain} can be proven")
    }

    /// Step 3.3, second half: hub and daemons are off, and the files alone are verified. Adds the step to the report.
    pub(super) async fn files_alone_suffice(&mut self, step: Step, report: &mut Value) -> anyhow::Result<()> {
        ensure!(self.network.view("status").await.is_err(), "the hub still answers");
        let [proof, headers, root] = ["proof", "headers", "root"]
            .map(|name| report["files"][name].as_str().unwrap_or_default().to_owned());
        let files = ["--json", "verify", &proof, "--headers", &headers, "--root", &root];
        let shown = json_tool("palisade-checkpointer", &files).await?;
        ensure!(
            shown["valid"] == true && shown["depth"].as_u64() >= shown["final_depth"].as_u64(),
            "{shown}"
        );
        let txid: Txid = string(&shown, "anchor_txid")?.parse()?;
        self.tell.line(format!(
            "with hub and daemons off: block {} of chain {} is final, signed by {} of {}, under anchor {txid} in block {}, {} deep",
            shown["height"],
            self.chain.id,
            btc(shown["signed_sat"].as_u64().context("power")?),
            btc(shown["total_sat"].as_u64().context("power")?),
            shown["anchor_height"],
            shown["depth"],
        ));
        let claim = "A block of the development chain is proven final and anchored from files alone, with hub and daemons off";
        let took = step.began.elapsed();
        let refs = report::proven(report, &self.chain.id, &shown["height"], &txid)?;
        let btc = report::add_step(report, step.number, claim, &[txid], &refs, took, self.tell.elapsed())?;
        let txs = vec![ShownTx { txid, kind: "anchor", amount: None, height: self.mined_at(txid).await? }];
        let refs = refs.into_iter().filter(|place| !place.starts_with("txs/")).collect();
        self.tell.step(step.number, claim, took, Shown { btc, txs, refs });
        Ok(())
    }
}
