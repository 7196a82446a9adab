//! Files of a proof, made and checked by the shipped checkpointer.

use palisade_protocol::anchor::Anchor as Payload;
use palisade_regtest::demo::network::{string, text};
use palisade_regtest::demo::story::Story;
use palisade_regtest::process::{json_tool, tool};

const CHECKPOINTER: &str = "palisade-checkpointer";

/// The files of a proof of the development chain's newest block that is under an anchor.
pub struct Files {
    proof: String,
    headers: String,
    root: String,
    /// The epoch that its anchor is of.
    pub epoch: u64,
    /// Height of the anchor's block.
    pub anchor_height: u64,
}

impl Files {
    pub async fn fetch(story: &Story) -> Self {
        let network = story.network();
        let chains = network.view("chains").await.unwrap();
        let newest = chains[1]["final_height"].as_u64().unwrap();
        let mut height = newest - newest % 5;
        while network.hub.get_bytes(&format!("proofs/dev/{height}")).await.is_err() {
            height -= 5;
        }
        let (out, cookie) = (text(&network.dir.join("files")), text(&network.node.cookie_path()));
        let (rpc, height) = (network.node.rpc_url(), height.to_string());
        let place = ["--out", &out, "--hub", &network.hub_url, "--bitcoin", &rpc, "--cookie", &cookie];
        let block = ["--json", "prove", "--chain", "dev", "--height", &height];
        let made = json_tool(CHECKPOINTER, &[&block[..], &place].concat()).await.unwrap();
        let file = |name: &str| string(&made, name).unwrap();
        let anchor = string(&made["shown"], "anchor_txid").unwrap().parse().unwrap();
        let anchor = network.node.rpc().raw_transaction(anchor).await.unwrap().unwrap();
        let epoch = Payload::find(&anchor.transaction).unwrap().1.epoch.0;
        Self {
            proof: file("proof"),
            headers: file("headers"),
            root: file("root"),
            epoch,
            anchor_height: made["shown"]["anchor_height"].as_u64().unwrap(),
        }
    }

    /// Whether the files hold with the headers that the node has now, and with more flags.
    pub async fn hold(&self, story: &Story, more: &[&str]) -> Result<(), String> {
        let network = story.network();
        let (rpc, cookie) = (network.node.rpc_url(), text(&network.node.cookie_path()));
        let fresh = ["headers", &self.proof, "--out", &self.headers, "--bitcoin", &rpc, "--cookie", &cookie];
        tool(CHECKPOINTER, &fresh).await.unwrap();
        let files = ["verify", &self.proof, "--headers", &self.headers, "--root", &self.root];
        tool(CHECKPOINTER, &[&files[..], more].concat()).await.map(|_| ()).map_err(|why| why.to_string())
    }
}
