//! Where the secrets of shipped programs are looked for and must not be found: core files, logs, arguments, environments, files.

use crate::kills::signer::SignerProcess;
use bitcoin::base64::Engine as _;
use bitcoin::base64::engine::general_purpose::STANDARD;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::secret::Secret;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::sha256;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::Height;
use palisade_regtest::demo::holders::Holder;
use palisade_regtest::demo::operators::Operator;
use palisade_regtest::demo::story::Story;
use palisade_regtest::in_time;
use palisade_regtest::process::{Daemon, binary};
use palisade_staker::keys::{Branch, Keys};
use secp256k1::{Keypair, Parity, SECP256K1, Scalar};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages of the workspace that have one program, named as the package is: all but this one, which ships none.
fn programs() -> Vec<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let rooms = std::fs::read_dir(workspace).unwrap().map(|room| room.unwrap());
    let shipped = rooms.filter(|room| room.path().join("src/main.rs").is_file());
    let mut names: Vec<_> =
        shipped.map(|room| format!("palisade-{}", room.file_name().to_str().unwrap())).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_shipped_program_keeps_its_memory_to_itself_whatever_it_is_told() {
    let programs = programs();
    assert_eq!(programs.len(), 5, "{programs:?}");
    let dir = tempfile::tempdir().unwrap();
    for (program, args) in
        programs.iter().flat_map(|program| [(program, "--version"), (program, "--nonsense")])
    {
        let log = dir.path().join("calls");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=prctl,prlimit64,openat", "-o"]).arg(&log);
        strace.arg(binary(program).unwrap()).arg(args).output().unwrap();
        let calls = std::fs::read_to_string(&log).unwrap();
        for call in [
            "prlimit64(0, RLIMIT_CORE, {rlim_cur=0, rlim_max=0}, NULL) = 0",
            "prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0",
        ] {
            assert!(calls.contains(call), "{program} {args} makes no call {call}:\n{calls}");
        }
    }
}

/// The command before a program's own that lets it write a core file as large as this user may, into a directory.
fn with_cores(dir: &Path) -> Vec<OsString> {
    let script = "ulimit -c \"$(ulimit -H -c)\" && cd \"$0\" && exec \"$@\"";
    ["sh".into(), "-c".into(), script.into(), dir.as_os_str().to_owned()].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_crashes_leaves_no_core_where_another_program_may() {
    let mut signer = SignerProcess::start().await;
    let cores = tempfile::tempdir().unwrap();
    for signal in ["ABRT", "SEGV"] {
        signer.daemon.kill().await.unwrap();
        signer.daemon.start_again_under(&with_cores(cores.path()), None).unwrap();
        signer.answers().await;
        let id = signer.daemon.process_id().unwrap();
        let of_process = |name: &str| PathBuf::from(format!("/proc/{id}/{name}"));
        let limits = std::fs::read_to_string(of_process("limits")).unwrap();
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert_eq!(limit.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
        // What a process that may be looked into has in there belongs to its user; this belongs to root.
        for name in ["environ", "mem", "maps", "fd"] {
            assert_eq!(std::fs::symlink_metadata(of_process(name)).unwrap().uid(), 0, "{name}");
        }
        let status = in_time("the end of a signer that crashes", async {
            loop {
                // The first SIGSEGV is taken by Rust's own handler, which lets the next one through.
                Command::new("kill").args(["-s", signal, &id.to_string()]).output().unwrap();
                if let Some(status) = signer.daemon.ended().unwrap() {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(status.signal().is_some() && !status.core_dumped(), "{signal}: {status}");
        assert_eq!(std::fs::read_dir(cores.path()).unwrap().count(), 0, "{signal}");
        signer.daemon.start_again(None).unwrap();
    }
}

/// A secret and the forms in which it could stand somewhere, by what it is.
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, name: &str, secret: &[u8]) {
        let hex = hex::encode(secret);
        let list: Vec<String> = secret.iter().map(u8::to_string).collect();
        let base64 = STANDARD.encode(secret);
        for form in
            [secret.to_vec(), hex.to_uppercase().into(), hex.into(), base64.into(), list.join(", ").into()]
        {
            self.0.push((name.to_owned(), form));
        }
    }

    /// What follows from a secret and is as good as it: the scalar of a BLS key, the first keys of a wallet.
    fn add_derived(&mut self, purpose: &str, secret: &Secret<[u8; 32]>) {
        match purpose {
            "finality-provider-bls" => {
                let scalar = blst::min_pk::SecretKey::key_gen(secret.expose(), &[]).unwrap();
                self.add("the scalar of a BLS key", &scalar.to_bytes());
            }
            "staker" | "anchor" | "watch" => {
                let keys = Keys::new(secret, bitcoin::Network::Regtest).unwrap();
                for index in 0..3 {
                    self.add("a staking key", &keys.staking(index).unwrap().secret_bytes());
                    for branch in [Branch::Receive, Branch::Change] {
                        self.add("a key of coins", &keys.coin_key(branch, index).unwrap().secret_bytes());
                    }
                }
            }
            _ => {}
        }
    }

    /// The seed of a signer's nonces, which stands in its record and nowhere else.
    fn add_seed(&mut self, operator: &Operator) {
        let record = rusqlite::Connection::open(operator.dir().join("signer-data/record.sqlite")).unwrap();
        let seed: [u8; 32] = record.query_row("SELECT seed FROM birth", [], |row| row.get(0)).unwrap();
        self.add("the seed of nonces", &seed);
    }

    /// The secret nonce of a vote, as whoever has the key can work it out: k = s - e d. Where that came out, the key would be out.
    fn add_nonce(&mut self, vote: &Vote, key: &Secret<[u8; 32]>) {
        let pair = Keypair::from_seckey_slice(SECP256K1, key.expose()).unwrap();
        let (point, parity) = pair.x_only_public_key();
        let d = pair.secret_key();
        let d = if parity == Parity::Odd { d.negate() } else { d };
        let tag = sha256(&[b"BIP0340/challenge"]);
        let message = sha256(&[&vote.ballot.message()]);
        let e = sha256(&[&tag.0, &tag.0, &vote.nonce.to_bytes(), &point.serialize(), &message.0]);
        let minus_ed = d.mul_tweak(&Scalar::from_be_bytes(e.0).unwrap()).unwrap().negate();
        let k = minus_ed.add_tweak(&Scalar::from_be_bytes(vote.signature.to_bytes()).unwrap()).unwrap();
        assert_eq!(k.x_only_public_key(SECP256K1).0.serialize(), vote.nonce.to_bytes());
        self.add("a nonce", &k.secret_bytes());
        self.add("a nonce", &k.negate().secret_bytes());
    }

    /// Those of every key file below a directory but of one whose key is out, and of the password; and the keys that vote.
    fn of(dir: &Path, password: &Path, out: &Path) -> (Self, BTreeMap<ProviderKey, Secret<[u8; 32]>>) {
        let source = PasswordSource::File(password.to_owned());
        let (opener, mut all) = (source.read("").unwrap(), Self(Vec::new()));
        let mut voting = BTreeMap::new();
        for file in files(dir).into_iter().filter(|file| file != out) {
            let Ok(label) = keyfile::read_label(&file) else { continue };
            let secret = keyfile::open::<32>(&file, label.purpose(), &opener, KdfCost::Regtest).unwrap().1;
            all.add(label.purpose(), secret.expose());
            all.add_derived(label.purpose(), &secret);
            if label.purpose().starts_with("finality-provider ") {
                let pair = Keypair::from_seckey_slice(SECP256K1, secret.expose()).unwrap();
                voting.insert(pair.x_only_public_key().0.into(), secret);
            }
        }
        all.0.push(("the password".to_owned(), opener.expose().into()));
        (all, voting)
    }

    /// The names of those that stand in some bytes.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let mut begin: BTreeMap<[u8; 8], Vec<&(String, Vec<u8>)>> = BTreeMap::new();
        for secret in &self.0 {
            begin.entry(secret.1[..8].try_into().unwrap()).or_default().push(secret);
        }
        let two = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        let mut firsts = vec![false; 1 << 16];
        begin.keys().for_each(|begin| firsts[two(begin)] = true);
        let places = (0..bytes.len().saturating_sub(7)).filter(|place| firsts[two(&bytes[*place..])]);
        let found = places.flat_map(|place| {
            let known = begin.get(&bytes[place..place + 8]).into_iter().flatten();
            known.filter(move |(_, form)| bytes[place..].starts_with(form)).map(|(name, _)| name.as_str())
        });
        found.collect()
    }
}

/// All regular files below a directory, but those of bitcoind.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.symlink_metadata().unwrap() {
            kind if kind.is_dir() && !entry.ends_with("bitcoin") => found.extend(files(&entry)),
            kind if kind.is_file() => found.push(entry),
            _ => {}
        }
    }
    found
}

/// What a process can write to in its memory. Nobody but root may look there: for others it is empty.
fn memory(process: u32) -> Vec<u8> {
    let of = |name: &str| File::open(format!("/proc/{process}/{name}"));
    let (maps, memory) = match of("maps").and_then(|maps| Ok((std::io::read_to_string(maps)?, of("mem")?))) {
        Err(why) if why.kind() == ErrorKind::PermissionDenied => return Vec::new(),
        opened => opened.unwrap(),
    };
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw")) {
        let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|place| u64::from_str_radix(place, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap()];
        // What was given back since the list was read is in nobody's memory.
        if memory.read_exact_at(&mut bytes, begin).is_ok() {
            all.extend(bytes);
        }
    }
    assert!(!all.is_empty(), "process {process} has memory");
    all
}

#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    let mut secrets = Secrets(Vec::new());
    let secret: Vec<u8> = (100..132).collect();
    secrets.add("a key", &secret);
    for form in [secret.clone(), hex::encode(&secret).into(), format!("{secret:?}").into()] {
        let bytes = [b"key=".as_slice(), &form, b"\n"].concat();
        assert!(secrets.found_in(&bytes).contains(&"a key"));
        assert_eq!(secrets.found_in(&bytes[..20]), Vec::<&str>::new());
    }
}

/// Starts a daemon again with everything in its log that can be.
async fn traced(daemon: &mut Daemon) {
    let address = daemon.log().with_extension("address");
    let wrapper = ["env".into(), "PALISADE_LOG=trace".into()];
    daemon.kill().await.unwrap();
    let address = address.exists().then_some(address);
    daemon.start_again_under(&wrapper, address.as_deref()).unwrap();
    if let Some(address) = address {
        daemon.address(&address).await.unwrap();
    }
}

/// All of the network but what is not ours, with everything in their logs that can be.
async fn all_traced(story: &mut Story) {
    let (network, operators) = story.processes_mut();
    let of_the_network = network.daemons_mut().filter(|daemon| !daemon.log().ends_with("devchain.log"));
    for daemon in of_the_network.chain(operators.iter_mut().flat_map(Operator::daemons_mut)) {
        traced(daemon).await;
    }
}

/// What a holder's command writes, with everything that can be.
fn wallet_says(dir: &Path, args: &[&str]) -> Vec<u8> {
    let mut command = Command::new(binary("palisade-staker").unwrap());
    command.env("PALISADE_LOG", "trace").arg("--config").arg(dir.join("holder-nora/staker.toml")).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    [output.stdout, output.stderr].concat()
}

/// Keys of each kind are used: a stake is signed by holder and covenant, voted with, left, slashed; an epoch is anchored.
async fn everything_is_signed(story: &mut Story, secrets_in: &mut Vec<u8>) {
    let dir = story.network().dir.clone();
    let coins = bitcoin::Amount::from_sat(2_000_000);
    Holder::new(story.network(), "nora", coins).await.unwrap();
    story.network_mut().mine(1).await.unwrap();
    let key = story.operators()[1].zero.clone();
    let stake = ["stake", "--yes", "--amount", "1000000 sat", "--provider", &key, "--lock", "2000 blocks"];
    let (at, words) = (dir.clone(), stake.map(str::to_owned));
    let said = tokio::task::spawn_blocking(move || wallet_says(&at, &words.each_ref().map(String::as_str)));
    secrets_in.extend(said.await.unwrap());
    let began = story.final_now().await.unwrap();
    story.further(&began, 2).await.unwrap();
    let is_anchored = |status: &Value| !status["anchored_epoch"].is_null();
    while !is_anchored(&story.network().view("status").await.unwrap()) {
        story.one_block().await.unwrap();
    }
    story.equivocate().await.unwrap();
    let slashed = story.stake_id(0).to_owned();
    while story.network().stake(&slashed).await.unwrap()["state"] != "SLASHED" {
        story.one_block().await.unwrap();
    }
    secrets_in.extend(wallet_says(&dir, &["status"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_in_a_log_at_trace_an_argument_an_environment_or_another_file_nor_a_password_in_memory()
 {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("network");
    let mut story = Story::until_final(&dir).await.unwrap();
    all_traced(&mut story).await;
    let mut said = Vec::new();
    everything_is_signed(&mut story, &mut said).await;

    let (password, hub) = (story.network().password(), story.network().hub.clone());
    let guilty = story.operators_mut().iter_mut().position(|own| own.daemons_mut().next().is_none()).unwrap();
    let out = story.operators()[guilty].dir().join("keys/chain-dev.json");
    let (mut secrets, voting) = Secrets::of(&dir, &password, &out);
    // Hub, five members of the covenant, three of governance, two wallets of the checkpointer, four keys of each of four operators
    // but the one that is out, five holders; what follows from BLS keys and from seeds of wallets.
    let seeds = 2 + 5;
    assert_eq!(secrets.0.len(), (9 + seeds + 15 + 4 + seeds * 9) * 5 + 1, "a form of each");
    let mut nonces = 0;
    for chain in ["zero", "dev"] {
        for vote in hub.all_votes(chain, Height(0)).await.unwrap() {
            let Some(key) = voting.get(&vote.key) else { continue };
            secrets.add_nonce(&vote, key);
            nonces += 1;
        }
    }
    assert!(nonces > 20, "{nonces} votes");
    let cookie = std::fs::read_to_string(story.network().node.cookie_path()).unwrap();
    secrets.0.push(("the node's cookie".to_owned(), cookie.split_once(':').unwrap().1.into()));
    let (network, operators) = story.processes_mut();
    for daemon in network.daemons_mut().chain(operators.iter_mut().flat_map(Operator::daemons_mut)) {
        let process = daemon.process_id().unwrap();
        for name in ["cmdline", "environ"] {
            let path = format!("/proc/{process}/{name}");
            assert_eq!(secrets.found_in(&std::fs::read(&path).unwrap()), Vec::<&str>::new(), "{path}");
        }
        // A key that signs is there; the password is wiped when it has opened the key's file.
        let mut found = secrets.found_in(&memory(process));
        assert!(!found.contains(&"the password"), "{}", daemon.log().display());
        if daemon.log().ends_with("voter.log") {
            found.retain(|name| *name != "the node's cookie");
            assert_eq!(found, Vec::<&str>::new(), "a voter has no keys: {}", daemon.log().display());
        }
    }
    // A password that is wrong is not repeated by what refuses it.
    let operator = &mut operators[1];
    operator.stop().await.unwrap();
    let right = std::fs::read(&password).unwrap();
    std::fs::write(&password, "not the right password").unwrap();
    assert!(operator.start().await.is_err());
    std::fs::write(&password, right).unwrap();
    story.stop_daemons().await.unwrap();
    story.operators().iter().for_each(|operator| secrets.add_seed(operator));
    assert_eq!(secrets.found_in(&said), Vec::<&str>::new(), "the wallet");
    let mut traces = 0;
    let holds_a_seed = |file: &PathBuf| file.ends_with("signer-data/record.sqlite");
    assert_eq!(files(&dir).iter().filter(|file| holds_a_seed(file)).count(), 4);
    for file in files(&dir).into_iter().filter(|file| *file != password && !holds_a_seed(file)) {
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(secrets.found_in(&bytes), Vec::<&str>::new(), "{}", file.display());
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("not the right password"), "{}", file.display());
        traces += u32::from(text.contains(" TRACE ") || text.contains(" DEBUG "));
    }
    assert!(traces >= 15, "{traces} logs at trace");
}
