//! What the errors under a failure say of it: its exit code, its rule, and what to do.

use super::config::ConfigError;
use super::exit::{Exit, Failure};
use super::keyfile::OpenRefused;
use super::lock::LockError;
use super::node::BadNodeArgs;
use super::password::PasswordError;
use super::private_file::Exists;
use crate::bitcoind::RpcError;
use crate::client::HubError;
use crate::replica::ReplicaError;

/// An error with its causes, outermost first, on one line. A cause that says so makes the exit code another than 1.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if let Some(why) = error.chain().find_map(|why| why.downcast_ref::<PasswordError>()) {
            return why.explain(one_line(&error));
        }
        if let Some(why) = error.chain().find_map(|why| why.downcast_ref::<OpenRefused>()) {
            return why.explain(one_line(&error));
        }
        if error.chain().any(|why| why.is::<Exists>()) {
            return Self::usage(one_line(&error)).hint("nothing was changed; name another --dir");
        }
        let later = |why: &(dyn std::error::Error + 'static)| {
            why.downcast_ref::<HubError>().is_some_and(HubError::can_be_retried)
                || why.downcast_ref::<RpcError>().is_some_and(RpcError::can_be_retried)
                || why.downcast_ref::<ReplicaError>().is_some_and(ReplicaError::can_be_retried)
                || matches!(why.downcast_ref(), Some(LockError::Held { .. }))
        };
        let exit = if error.chain().any(|why| why.is::<ConfigError>() || why.is::<BadNodeArgs>()) {
            Exit::Usage
        } else if error.chain().any(later) {
            Exit::NotNow
        } else {
            Exit::Failed
        };
        let failure = Self::new(exit, one_line(&error));
        match error.chain().find_map(|why| why.downcast_ref::<HubError>()?.rule()) {
            Some(rule) => failure.rule(rule),
            None => failure,
        }
    }
}

impl From<Exists> for Failure {
    fn from(why: Exists) -> Self {
        anyhow::Error::new(why).into()
    }
}

/// An error and its causes. Many errors of ours say their cause themselves: it is not said twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for why in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = why;
        } else if !text.ends_with(&why) {
            text = format!("{text}: {why}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_refusal_of_the_hubs_is_told_with_its_rule() {
        let refused = HubError::Refused { rule: "sequence".into(), message: "no".into(), retry: false };
        let said = Failure::from(anyhow::Error::new(refused).context("sent")).to_json();
        assert_eq!(
            (&said["error"], &said["rule"]),
            (&"sent: the hub refuses (sequence): no".into(), &"sequence".into())
        );
    }

    #[test]
    fn whoever_has_no_password_or_a_wrong_one_is_told_the_flag_and_the_variable_and_programs_the_rule() {
        let unset = || PasswordError::NoVariable { name: "X".into() };
        let locked = || OpenRefused::Locked { path: "k".into() };
        for (failure, rule) in [
            (Failure::from(unset()), "no-password"),
            (anyhow::Error::new(unset()).context("signer").into(), "no-password"),
            (Failure::from(locked()), "wrong-password"),
            (anyhow::Error::new(locked()).context("signer").into(), "wrong-password"),
        ] {
            let said = failure.to_json();
            assert_eq!(said["rule"], rule, "{said}");
            for part in ["--password-file", "`password_file`", "PALISADE_PASSWORD"] {
                assert!(said["hint"].as_str().unwrap().contains(part), "{said}");
            }
        }
    }

    #[test]
    fn a_cause_that_an_error_says_itself_is_not_said_twice() {
        let corrupt = crate::store::StoreError::Event(serde_json::from_str::<u8>("x").unwrap_err());
        let said = one_line(&anyhow::Error::new(corrupt).context("log.sqlite"));
        assert_eq!(said.matches("expected value").count(), 1, "{said}");
        assert!(said.starts_with("log.sqlite: message log holds an event"), "{said}");
    }

    #[test]
    fn the_cause_decides_on_the_exit_code() {
        let no_terminal = || PasswordError::NoTerminal { cause: io::ErrorKind::NotFound.into() };
        let held = || LockError::Held { file: "data/lock".into(), holder: Some(7) };
        for (error, exit) in [
            (anyhow::anyhow!("broken"), Exit::Failed),
            (BadNodeArgs::Nameless.into(), Exit::Usage),
            (Exists("hub.toml".into()).into(), Exit::Usage),
            (PasswordError::Mistyped.into(), Exit::Failed),
            (anyhow::Error::new(no_terminal()).context("member"), Exit::Usage),
            (OpenRefused::Locked { path: "k".into() }.into(), Exit::Failed),
            (OpenRefused::OtherLength { path: "k".into(), found: 1, wanted: 32 }.into(), Exit::Usage),
            (anyhow::Error::new(held()).context("cannot begin"), Exit::NotNow),
            (anyhow::Error::new(ConfigError::TooLong { path: "x.toml".into() }), Exit::Usage),
        ] {
            assert_eq!(Failure::from(error).exit(), exit);
        }
    }
}
