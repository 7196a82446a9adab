//! Where the secrets of shipped programs are looked for and must not be found: core files, logs, arguments, environments, files.

use crate::kills::signer::SignerProcess;
use bitcoin::base64::Engine as _;
use bitcoin::base64::engine::general_purpose::STANDARD;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::secret::Secret;
use palisade_regtest::demo::holders::Holder;
use palisade_regtest::demo::network::Network;
use palisade_regtest::demo::operators::Operator;
use palisade_regtest::demo::tell::Tell;
use palisade_regtest::in_time;
use palisade_regtest::process::{Daemon, binary};
use palisade_staker::keys::{Branch, Keys};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
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

    /// Those of every key file below a directory, and of the password.
    fn of(dir: &Path, password: &Path) -> Self {
        let source = PasswordSource::File(password.to_owned());
        let (opener, mut all) = (source.read("").unwrap(), Self(Vec::new()));
        for file in files(dir) {
            let Ok(label) = keyfile::read_label(&file) else { continue };
            let secret = keyfile::open::<32>(&file, label.purpose(), &opener, KdfCost::Regtest).unwrap().1;
            all.add(label.purpose(), secret.expose());
            all.add_derived(label.purpose(), &secret);
        }
        all.0.push(("the password".to_owned(), opener.expose().into()));
        all
    }

    /// The names of those that stand in some bytes.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let mut begin: BTreeMap<[u8; 8], Vec<&(String, Vec<u8>)>> = BTreeMap::new();
        for secret in &self.0 {
            begin.entry(secret.1[..8].try_into().unwrap()).or_default().push(secret);
        }
        let firsts: Vec<bool> = (0..=255).map(|first| begin.keys().any(|begin| begin[0] == first)).collect();
        let places = (0..bytes.len().saturating_sub(7)).filter(|place| firsts[usize::from(bytes[*place])]);
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

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_in_a_log_at_trace_an_argument_an_environment_or_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut network = Network::start(dir.path(), &Tell::default()).await.unwrap();
    let chain = network.start_chain(95_000_000).await.unwrap();
    let (mut operator, _) = Operator::new(&network, "anna", &chain).await.unwrap();
    let (holder, _) = Holder::new(&network, "nora", bitcoin::Amount::from_sat(2_000_000)).await.unwrap();
    network.mine(7).await.unwrap();
    operator.start().await.unwrap();
    for daemon in network.daemons_mut().filter(|daemon| !daemon.log().ends_with("devchain.log")) {
        traced(daemon).await;
    }
    for daemon in operator.daemons_mut() {
        traced(daemon).await;
    }
    // Keys of each kind are used: the signer's, the funding key's, the holder's, the covenant's, the hub's.
    operator.register(&chain).await.unwrap();
    network.mine(1).await.unwrap();
    let key = operator.zero.clone();
    let stake = ["stake", "--yes", "--amount", "1000000 sat", "--provider", &key, "--lock", "2000 blocks"];
    holder.run(&stake).await.unwrap();
    network.mine(2).await.unwrap();

    let mut secrets = Secrets::of(dir.path(), &network.password());
    // Hub, five members of the covenant, three of governance, two wallets of the checkpointer, the operator's four, the holder's;
    // what follows from the BLS key, and from three seeds of wallets.
    assert_eq!(secrets.0.len(), (16 + 1 + 3 * 9) * 5 + 1, "a form of each");
    let cookie = std::fs::read_to_string(network.node.cookie_path()).unwrap();
    secrets.0.push(("the node's cookie".to_owned(), cookie.split_once(':').unwrap().1.into()));
    for daemon in network.daemons_mut().chain(operator.daemons_mut()) {
        for name in ["cmdline", "environ"] {
            let path = format!("/proc/{}/{name}", daemon.process_id().unwrap());
            assert_eq!(secrets.found_in(&std::fs::read(&path).unwrap()), Vec::<&str>::new(), "{path}");
        }
    }
    // A password that is wrong is not repeated by what refuses it.
    operator.stop().await.unwrap();
    secrets.add_seed(&operator);
    let (password, right) = (network.password(), std::fs::read(network.password()).unwrap());
    std::fs::write(&password, "not the right password").unwrap();
    assert!(operator.start().await.is_err());
    std::fs::write(&password, right).unwrap();
    network.stop().await.unwrap();
    let mut traces = 0;
    let holds_the_seed = |file: &PathBuf| file.ends_with("signer-data/record.sqlite");
    assert!(files(dir.path()).iter().any(holds_the_seed));
    for file in files(dir.path()).into_iter().filter(|file| *file != password && !holds_the_seed(file)) {
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(secrets.found_in(&bytes), Vec::<&str>::new(), "{}", file.display());
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("not the right password"), "{}", file.display());
        traces += u32::from(text.contains(" TRACE ") || text.contains(" DEBUG "));
    }
    assert!(traces >= 9, "{traces} logs at trace");
}
