//! How the tests and the demo come by their bitcoind: `regtest/bitcoind/provision.sh`.

use palisade_regtest::bitcoind_path;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bitcoind/provision.sh");

#[test]
fn a_named_bitcoind_that_does_not_fit_is_refused_before_anything_is_built() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for target in ["build", "test", "demo", "up"] {
        let done = Command::new("make").args(["-C", root, target, "BITCOIND=/bin/false"]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains("$BITCOIND is /bin/false"), "{target}: {said}");
        assert!(!said.contains("Compiling") && !said.contains("Finished"), "{target}: {said}");
    }
}

/// A directory of programs that the script finds before all others: a compiler that takes as long as it is told to and then has
/// built the bitcoind that is at hand, and what it needs around it.
fn tools(dir: &Path) {
    let built = bitcoind_path().unwrap();
    let program = |name: &str, body: &str| {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    };
    let source = dir.join("libbitcoinkernel-sys-0.4.1");
    fs::create_dir_all(source.join("bitcoin")).unwrap();
    program("bitcoind", "exit 1");
    program("c++", "exit 1");
    program(
        "cargo",
        &format!(
            "[ $1 = fetch ] && echo fetched >>'{}/fetches' && exit
            echo '\"manifest_path\":\"{}/Cargo.toml\"'",
            dir.display(),
            source.display()
        ),
    );
    let (here, built) = (dir.display(), built.display());
    program(
        "cmake",
        &format!(
            "[ \"$1\" = --build ] || exit 0
            echo built >>'{here}/builds'
            until [ -e '{here}/go' ]; do sleep 0.02; done
            mkdir -p \"$2/bin\"
            printf '#!/bin/sh\\nexec \"{built}\" \"$@\"\\n' | tee \"$2/bin/bitcoind\" >\"$2/bin/bitcoin-cli\"
            chmod +x \"$2/bin/\"*"
        ),
    );
}

fn provision(tools: &Path) -> Child {
    provision_by(Path::new(SCRIPT), tools)
}

/// Runs the script, or a copy of it, as a job of its own.
fn provision_by(script: &Path, tools: &Path) -> Child {
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut script = Command::new(script);
    script.env_remove("BITCOIND").env("PATH", path).env("PALISADE_CACHE", tools.join("a cache"));
    script.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap()
}

/// Reads what a run says until it says this.
fn wait_until_it_says(run: &mut Child, words: &str) {
    let said = BufReader::new(run.stderr.as_mut().unwrap());
    assert!(said.lines().any(|line| line.unwrap().contains(words)), "it never says {words:?}");
}

fn printed(run: Child) -> String {
    let done = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn two_runs_at_once_build_bitcoind_once_and_a_third_builds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    tools(dir.path());
    let mut first = provision(dir.path());
    wait_until_it_says(&mut first, "building Bitcoin Core");
    let mut second = provision(dir.path());
    wait_until_it_says(&mut second, "waiting for that one");
    fs::write(dir.path().join("go"), "").unwrap();
    let paths = [first, second, provision(dir.path())].map(printed);
    assert!(paths.iter().all(|path| *path == paths[0]), "{paths:?}");
    assert_eq!(fs::read_to_string(dir.path().join("builds")).unwrap(), "built\n");
    let mut answer = Command::new(paths[0].trim()).arg("-version").stdout(Stdio::piped()).spawn().unwrap();
    let mut version = String::new();
    answer.stdout.take().unwrap().read_to_string(&mut version).unwrap();
    assert!(answer.wait().unwrap().success() && version.starts_with("Bitcoin Core"), "{version}");
}

#[test]
fn a_build_that_was_interrupted_goes_on_and_other_flags_build_another_one() {
    let dir = tempfile::tempdir().unwrap();
    tools(dir.path());
    let lines = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap().lines().count();
    let mut interrupted = provision(dir.path());
    wait_until_it_says(&mut interrupted, "building Bitcoin Core");
    let has_begun = || fs::read_to_string(dir.path().join("builds")).is_ok_and(|text| text.ends_with('\n'));
    while !has_begun() {
        assert!(interrupted.try_wait().unwrap().is_none(), "it ends before the compiler has begun");
    }
    // As Ctrl-C does it: the whole job.
    let job = format!("-{}", interrupted.id());
    assert!(Command::new("kill").args(["-KILL", "--", &job]).status().unwrap().success());
    assert!(!interrupted.wait().unwrap().success());

    fs::write(dir.path().join("go"), "").unwrap();
    let first = printed(provision(dir.path()));
    assert_eq!((lines("builds"), lines("fetches")), (2, 1), "it goes on with the source that was copied");
    assert_eq!(printed(provision(dir.path())), first);

    let other = dir.path().join("other.sh");
    let script = fs::read_to_string(SCRIPT).unwrap();
    fs::write(&other, script.replace("-DBUILD_UTIL=OFF", "-DBUILD_UTIL=ON")).unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o755)).unwrap();
    assert_ne!(printed(provision_by(&other, dir.path())), first);
    assert_eq!(lines("builds"), 3);
}
