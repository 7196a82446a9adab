//! A backup is killed at each of its calls that write. What it leaves is a whole copy or none, and what is copied stays as it is.

use super::covenant::configure;
use palisade_covenant::audit::Audit;
use palisade_regtest::hub_process::HubProcess;
use palisade_regtest::process::binary;
use palisade_world::World;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const MEMBER: &str = "palisade-covenant";
const CALLS: [&str; 8] =
    ["mkdir", "openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "ftruncate"];

/// Whether the backup came to its end although its `n`-th call of this kind was to be its last.
fn outlives(config: &Path, to: &Path, call: &str, n: u32) -> bool {
    let mut strace = Command::new("strace");
    let inject = format!("inject={call}:signal=KILL:when={n}");
    strace.args(["-f", "-qq", "-e", &format!("trace={call}"), "-e", &inject, "-o", "/dev/null"]);
    strace.arg(binary(MEMBER).unwrap()).arg("backup").arg("--config").arg(config).arg("--to").arg(to);
    let status = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success() || status.signal() == Some(9), "{call} {n}: {status}");
    status.success()
}

/// It can be started from where it is, as the command says that made it.
fn check_whole(copy: &Path) {
    let audit = Command::new(binary(MEMBER).unwrap()).arg("audit").current_dir(copy).output().unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_at_any_call_is_a_whole_one_or_none_and_another_one_is_made_after_it() {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.close();
    let hub = HubProcess::start(&world).await;
    let config = configure(&hub);
    std::fs::create_dir(hub.at("member")).unwrap();
    let audit = hub.at("member/audit.sqlite");
    drop(Audit::open(&audit).unwrap());
    let before = std::fs::read(&audit).unwrap();
    let (mut whole, mut none) = (0, 0);
    for call in CALLS {
        // What the linker and the allocator open comes before; a call more or less at the end is of the exit.
        for n in 1.. {
            let to = hub.at(&format!("backup-{call}-{n}"));
            let ended = outlives(&config, &to, call, n);
            if to.join("covenant.toml").exists() {
                check_whole(&to);
                whole += 1;
            } else {
                assert!(!ended, "{call} {n}");
                none += 1;
            }
            if ended {
                break;
            }
        }
    }
    println!("{none} were none, {whole} whole");
    assert!(none > 20 && whole >= CALLS.len());
    assert!(std::fs::read(&audit).unwrap() == before);
}
