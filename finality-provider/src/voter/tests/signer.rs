//! A voter whose signer goes and comes, without a hub and without a node.

use super::*;
use crate::voter::cast::NoVote;
use crate::voter::commit::Known;
use crate::voter::config::{DEFAULT, VoterConfig};
use crate::voter::judge::NotJudged;
use palisade_hub::daemon::config::parse;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::daemon::template::Template;
use palisade_world::{World, bls_secret, pair};
use std::path::Path;
use tokio::runtime::Runtime;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn lines_about_the_signer(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains("signer")).collect()
    }

    /// Takes what this thread logs from now on.
    fn open(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl std::io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn voter(dir: &Path, genesis: &Arc<Genesis>) -> Voter {
    let fill = || {
        Template::new(DEFAULT)
            .path("data_dir", dir.join("voter"))?
            .path("signer_socket", dir.join("socket/signer"))?
            .text("hub.url", "http://127.0.0.1:1")?
            .text("bitcoin.rpc_url", "http://127.0.0.1:1")?
            .path("bitcoin.cookie_file", dir.join("cookie"))
    };
    let text =
        format!("{}\n[[sources]]\nchain = \"dev\"\nurl = \"http://127.0.0.1:1\"\n", fill().unwrap().finish());
    let config: VoterConfig = parse(Path::new("voter.toml"), &text).unwrap();
    std::fs::create_dir_all(&config.data_dir).unwrap();
    let health = Health::new("test", "0", config.network).unwrap();
    let replica = Replica::open(&config.data_dir, genesis.clone()).unwrap();
    Voter::open(&config, replica, health).unwrap()
}

/// A signer with a key for chain zero and no other, on threads of its own: they end with its connections, as a process does.
fn start_signer(dir: &Path, genesis: &Arc<Genesis>) -> Runtime {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let chains = vec![ChainSigner::new(genesis.zero(), genesis.document().zero, pair("anna"))];
    let data = dir.join("signer");
    std::fs::create_dir_all(&data).unwrap();
    let record = Record::open(&data).unwrap().0;
    let signer = Arc::new(Signer::new(genesis, chains, bls_secret("anna"), record).unwrap());
    let listener = server::open(&dir.join("socket/signer")).unwrap();
    runtime.spawn(server::serve(signer, listener, server::own_uid().unwrap(), Shutdown::manual()));
    runtime
}

#[tokio::test]
async fn that_the_signer_is_away_and_back_is_said_once_and_status_names_the_chains_that_it_has_no_key_for() {
    let page = Page::default();
    let _logged = page.open();
    let dir = tempfile::tempdir().unwrap();
    let genesis = World::new(1_000).ledger.genesis().clone();
    let voter = voter(dir.path(), &genesis);
    let (zero, mut known, mut told) = (ChainId::zero(), Known::default(), None);
    for (is_there, line, no_key) in [
        (false, "is it running? `palisade-finality-provider signer", ["unknown until", "unknown until"]),
        (true, "the signer answers again", ["", "the signer has no key for this chain: `add-chain`"]),
        (false, "is it running? `palisade-finality-provider signer", ["", "unknown until"]),
    ] {
        let signer = is_there.then(|| start_signer(dir.path(), &genesis));
        for _ in 0..3 {
            voter.note(&zero, voter.pass_zero().await).await;
            voter.commit_all(&mut known).await;
            voter.try_checkpoint(&mut told).await;
        }
        let said = page.lines_about_the_signer();
        page.0.lock().unwrap().clear();
        assert!(said.len() == 1 && said[0].contains(line), "{line}: {said:#?}");
        let health = serde_json::to_string(&voter.health.report()).unwrap();
        assert_eq!(health.contains("is it running?"), !is_there, "{health}");
        let status = voter.status().await.unwrap();
        assert_eq!(status.chains.iter().map(|own| own.chain.as_str()).collect::<Vec<_>>(), ["zero", "dev"]);
        for (chain, why) in status.chains.iter().zip(no_key) {
            let shown = chain.to_string();
            assert_eq!(shown.contains("no key"), !why.is_empty(), "{shown}");
            assert!(shown.contains(why), "{shown}");
        }
        std::thread::spawn(move || drop(signer)).join().unwrap();
    }
}

#[tokio::test]
async fn that_a_first_start_has_nothing_to_judge_yet_is_said_once_and_is_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    let voter = voter(dir.path(), World::new(1_000).ledger.genesis());
    let page = Page::default();
    let _logged = page.open();
    let empty = || NoVote::from(NotJudged::NoHeader);
    for _ in 0..2 {
        voter.note_verdict(&Err(empty()));
        voter.note(&ChainId::zero(), Err(empty())).await;
    }
    let said = page.lines();
    assert!(said.len() == 1 && said[0].contains("INFO"), "{said:#?}");
    assert!(said[0].contains("the own copy of the hub's log is empty yet"), "{said:#?}");
}
