//! What a newcomer can try on the network that `make up` leaves running: lines to copy.

use super::Story;
use crate::demo::network::{governance_key, text};

impl Story {
    /// The lines, for everybody who has a part.
    pub fn commands(&self, faucet: &str) -> String {
        let network = &self.network;
        let bin = std::env::current_exe().ok().and_then(|exe| Some(text(exe.parent()?))).unwrap_or_default();
        let (hub, rpc) = (&network.hub_url, network.node.rpc_url());
        format!(
            "A network is up: hub {hub}, bitcoind {rpc}, a block every two seconds. Try:\n\n\
             export PATH='{bin}':\"$PATH\" PALISADE_PASSWORD=hello\n\n\
             {}\n{}\n{}\n{}\n\
             {}\n\
             `make down DEMO_DIR='{}'` stops everything; the next `make up` there begins anew and removes this network with its wallets.",
            self.holder(faucet),
            self.prover(),
            self.stamper(),
            self.follower(),
            self.governor(),
            text(&network.dir),
        )
    }

    fn holder(&self, faucet: &str) -> String {
        let network = &self.network;
        let (wallet, hub, node) = (text(&network.dir.join("you")), &network.hub_url, self.node_flags());
        let (genesis, zero, other) =
            (text(&network.genesis()), &self.operators[1].zero, &self.operators[1].other);
        format!(
            "# Stake, and leave again. ID is the beginning of an id that `status` shows.\n\
             palisade-staker init --dir '{wallet}' --hub {hub} --genesis '{genesis}' {node}\n\
             cd '{wallet}'\n\
             curl -X POST \"{faucet}/fund?sat=100000000&address=$(palisade-staker address)\"   # coins from the network's miner\n\
             palisade-staker providers\n\
             palisade-staker stake --amount '0.01 BTC' --lock '400 blocks' --provider {zero} --provider {other}\n\
             palisade-staker status\n\
             palisade-staker extend ID --add '0.002 BTC'     # once it is ACTIVE: larger, without leaving; it gets a new ID\n\
             palisade-staker backup you.backup                # one file is enough to withdraw\n\
             palisade-staker unbond ID                        # leave early; then, 244 blocks later:\n\
             palisade-staker withdraw ID                      # or from the file alone:\n\
             palisade-staker withdraw --backup you.backup --stake ID {node} --to \"$(palisade-staker address)\"\n"
        )
    }

    /// The chain's blocks become final one after the other; anchors come once an epoch.
    fn prover(&self) -> String {
        let (hub, chain, node) = (&self.network.hub_url, &self.chain.id, self.node_flags());
        let source = self.chain.source.trim_end_matches('/');
        let every = self.chain.voted_every;
        format!(
            "# Prove a block of chain {chain} from files. HEIGHT is a multiple of {every} up to the chain's final_height; an anchor comes later.\n\
             curl {source}/tip                       # the chain\n\
             curl {hub}/chains                # how far it is final\n\
             palisade-checkpointer prove --chain {chain} --height HEIGHT --hub {hub} {node} --out proof\n\
             palisade-checkpointer verify proof/block.proof --headers proof/bitcoin.headers --root proof/hub.root   # or from which height on\n\
             palisade-checkpointer headers proof/block.proof --out proof/bitcoin.headers {node}   # fresh headers\n"
        )
    }

    fn stamper(&self) -> String {
        let (hub, network) = (&self.network.hub_url, &self.network);
        let node = network.node.rpc_url().replace("http://", "");
        let cookie = text(&network.node.cookie_path());
        format!(
            "# Have a document timestamped. The file comes once an anchor is in a block; `ots` is the OpenTimestamps client.\n\
             echo 'I was here.' > document.txt; DIGEST=$(sha256sum document.txt | cut -c1-64)\n\
             curl -X POST -H 'content-type: application/json' -d \"{{\\\"digest\\\":\\\"$DIGEST\\\"}}\" {hub}/timestamps\n\
             curl {hub}/timestamps/$DIGEST\n\
             curl --fail-with-body -sS -o document.txt.ots {hub}/timestamps/$DIGEST/ots || cat document.txt.ots   # until an anchor is in a block the hub says why not\n\
             # `ots` comes with: pip install opentimestamps-client\n\
             ots --btc-regtest --bitcoin-node \"http://$(cat '{cookie}')@{node}\" verify document.txt.ots\n"
        )
    }

    fn follower(&self) -> String {
        let (hub, genesis) = (&self.network.hub_url, text(&self.network.genesis()));
        format!(
            "# Check the hub: a follower replays its log and serves the same doors.\n\
             curl {hub}/status\n\
             curl -N '{hub}/events?cursor=0'         # every change; -N, or nothing shows\n\
             printf '%s\\n' 'network = \"regtest\"' 'data_dir = \"follower-data\"' 'genesis_file = \"{genesis}\"' \\\n  \
             '[listen]' 'address = \"127.0.0.1:8201\"' '[follow]' 'url = \"{hub}\"' > follower.toml\n\
             palisade-hub run --config follower.toml &\n\
             curl http://127.0.0.1:8201/status        # and /health, which says whether it has caught up\n"
        )
    }

    /// Its keys have the network's password, not the one of the wallet above.
    fn governor(&self) -> String {
        let network = &self.network;
        let [first, second] = [0, 1].map(|member| text(&governance_key(&network.dir, member)));
        let (hub, genesis, password) =
            (&network.hub_url, text(&network.genesis()), text(&network.password()));
        format!(
            "# Govern, by two of the three keys: another chain. Every key file of the network has the password in {password}.\n\
             palisade-hub governance register-chain --id my-chain --genesis-block \"$(printf '%064d' 7)\" --epoch-length 100 --voted-every 10 \\\n  \
             --minimum-power 5000000 --genesis '{genesis}' --hub {hub} --key '{first}' --key '{second}' --password-file '{password}' --yes\n"
        )
    }

    fn node_flags(&self) -> String {
        let node = &self.network.node;
        format!("--bitcoin {} --cookie '{}'", node.rpc_url(), text(&node.cookie_path()))
    }
}
