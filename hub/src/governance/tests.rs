//! What is read, refused and said before anything is sent.

use super::*;
use crate::daemon::network::MainnetConsent;

#[test]
fn a_decision_is_read_from_its_hex_and_from_files_of_hex_or_json() {
    let chain = AcceptedPower { chain: ChainId::zero(), power: Amount::from_sat(7) };
    let action = Action::Resume(Resume { accepted: vec![chain] });
    assert_eq!(
        in_words(&action),
        "end the breaker's trip; accept for chain zero a next set with a power of 0.00000007 BTC or more"
    );
    let decision = GovernanceMessage { sequence: 3, action, signatures: Vec::new() };
    let hex = hex::encode(decision.to_bytes());
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let json = serde_json::json!({ "signatures_missing": 1, "decision": hex }).to_string();
    for given in [hex.clone(), file("hex", &format!("{hex}\n")), file("json", &json)] {
        assert_eq!(read_decision(&given).unwrap(), decision, "{given}");
    }
    for given in ["", "00", "/nowhere", &file("text", "yes"), &format!("{hex}00")] {
        let why = read_decision(given).unwrap_err().to_string();
        assert!(why.contains("--decision: "), "{given}: {why}");
    }
}

#[test]
fn parameters_that_cannot_be_used_are_refused_with_the_name_of_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new params.json");
    let mut refused = vec![read_params(&file).unwrap_err()];
    for text in ["", "{}", "[1]"] {
        std::fs::write(&file, text).unwrap();
        refused.push(read_params(&file).unwrap_err());
    }
    for why in refused {
        assert!(why.message().starts_with(&format!("--params {}: ", file.display())), "{why}");
        assert_eq!(why.exit() as u8, 2);
    }
}

#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    command: Governance,
}

/// A hub that nobody runs, the flags of a command, and how it ends.
async fn refused(args: &[&str]) -> Failure {
    let place = ["--genesis", "/nowhere/genesis.json", "--hub", "http://127.0.0.1:9"];
    let args = ["governance"].iter().chain(args).chain(&place);
    run(<Cli as clap::Parser>::try_parse_from(args).unwrap().command).await.unwrap_err()
}

#[tokio::test]
async fn a_chain_that_is_accepted_twice_and_a_missing_genesis_document_are_wrong_command_lines() {
    let twice = refused(&["resume", "--accept", "zero=5", "--accept", "dev=6", "--accept", "zero=7"]).await;
    assert!(twice.to_string().contains("--accept names chain zero twice"), "{twice}");
    let missing = refused(&["resume", "--accept", "zero=5"]).await;
    assert!(missing.to_string().contains("genesis document /nowhere/genesis.json"), "{missing}");
    assert_eq!((twice.exit() as u8, missing.exit() as u8), (2, 2));
}

#[tokio::test]
async fn a_key_for_mainnet_needs_the_sentence_before_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.json").display().to_string();
    let args = ["", "keygen", "--file", &file, "--network", "bitcoin", "--password-file", "/nowhere"];
    let keygen = |more: &[&str]| {
        let args = [&args[..], more].concat();
        run(<Cli as clap::Parser>::try_parse_from(args).unwrap().command)
    };
    let why = keygen(&[]).await.unwrap_err();
    assert!(why.to_string().contains("mainnet needs a second key"), "{why}");
    let why = keygen(&["--mainnet", MainnetConsent::SENTENCE]).await.unwrap_err();
    assert!(why.to_string().contains("password file /nowhere"), "{why}");
}

#[test]
fn a_chain_that_is_not_registered_is_refused_before_anybody_signs() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(crate::init::tests::genesis(dir.path()));
    let resume = |chain: &str| {
        let own = AcceptedPower { chain: chain.parse().unwrap(), power: Amount::ZERO };
        check_chains(&ledger, &Resume { accepted: vec![own] })
    };
    resume("zero").unwrap();
    let why = resume("zer").unwrap_err();
    let said = "error: --accept: chain zer is not registered\nhint: the hub's log knows zero";
    assert_eq!((why.to_string().as_str(), why.exit() as u8), (said, 2));
}

#[test]
fn more_than_all_bitcoin_is_refused_before_anybody_signs() {
    for (power, good) in [
        ("zero=0", true),
        ("zero=2100000000000000", true),
        ("zero=2100000000000001", false),
        ("zero=18446744073709551615", false),
        ("zero=18446744073709551616", false),
        ("zero", false),
    ] {
        let place = ["--genesis", "genesis.json", "--hub", "http://127.0.0.1:9"];
        let args = [&["", "resume", "--accept", power], &place[..]].concat();
        assert_eq!(<Cli as clap::Parser>::try_parse_from(args).is_ok(), good, "{power}");
    }
}

#[test]
fn an_address_that_is_none_is_a_wrong_command_line() {
    for (hub, good) in [("http://127.0.0.1:9", true), ("ftp://127.0.0.1:9", false), ("foo", false)] {
        let args = ["", "resume", "--genesis", "genesis.json", "--hub", hub];
        assert_eq!(<Cli as clap::Parser>::try_parse_from(args).is_ok(), good, "{hub}");
    }
}

#[test]
fn what_came_of_a_command_says_in_words_what_comes_next() {
    let (action, sign) = ("end the breaker's trip".to_owned(), "palisade-hub governance sign …".to_owned());
    let begun = |signatures_missing| Done::Begun {
        sequence: 4,
        action: action.clone(),
        signatures_missing,
        decision: "00".to_owned(),
        sign: sign.clone(),
    };
    for (missing, words) in [(1, "1 signature is missing"), (2, "2 signatures are missing")] {
        let said = begun(missing).to_string();
        assert!(said.starts_with(&format!("decision 4 was not sent: {words}")), "{said}");
        assert!(!said.contains(&action), "it was shown before it was signed: {said}");
        assert!(said.ends_with(&format!("  {sign}")), "{said}");
        let why = begun(missing).check().unwrap_err();
        assert!(why.to_string().contains(&format!("decision 4 is begun, not made: {words}")), "{why}");
        assert_eq!((why.exit() as u8, &why.to_json()["signatures_missing"]), (3, &missing.into()));
    }
    let (id, height) = (Hash32([7; 32]), Height(9));
    let decided = Done::Decided { sequence: 4, action: action.clone(), id, height };
    decided.check().unwrap();
    assert_eq!(decided.to_string(), format!("decision 4 is in hub block 9, message {id}"));
    let shown = serde_json::to_value(begun(1)).unwrap();
    assert_eq!((&shown["signatures_missing"], &shown["sign"]), (&1.into(), &sign.into()));
}
