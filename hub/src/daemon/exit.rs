//! How our command-line tools end: exit codes, `error:` and `hint:` lines, results as text or JSON.
//!
//! Results go to standard output, talk to standard error. With `--json` standard output has one JSON value, and standard error
//! nothing, or after a failure one JSON object. A reader that closes the pipe early is no failure.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// How a command ended. The numbers are part of the interface: scripts branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: what was asked for is done.
    Done = 0,
    /// 1: it was refused or it failed, and the same command will fail again.
    Failed = 1,
    /// 2: the command line or the configuration is wrong; nothing was tried.
    Usage = 2,
    /// 3: not now (not deep enough, not reachable, held by another process); the same command can succeed later.
    NotNow = 3,
}

/// Why a command did not do what was asked, and what to do next.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
    rule: Option<String>,
    facts: Map<String, Value>,
}

impl Failure {
    /// The rules or the system refused: exit code 1.
    pub fn failed(message: impl Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line or the configuration is wrong: exit code 2.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same command can succeed later: exit code 3.
    pub fn not_now(message: impl Display) -> Self {
        Self::new(Exit::NotNow, message)
    }

    pub(super) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), hint: None, rule: None, facts: Map::new() }
    }

    /// Adds what the user can do about it.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Names the rule that was broken, for programs: kebab-case, as the hub names its own.
    pub fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Adds a number that the message says in words, for programs.
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// What happened, without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What scripts get: `error`, `hint` and `rule` (null where there is none), `exit_code`, and the numbers by their names.
    pub fn to_json(&self) -> Value {
        let Self { exit, message, hint, rule, facts } = self;
        let mut said = json!({ "error": message, "hint": hint, "rule": rule, "exit_code": *exit as u8 });
        facts.iter().for_each(|(name, value)| said[name] = value.clone());
        said
    }

    /// The code that the process exits with.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Ends `main`: prints a failure to standard error, in the form that results were asked in, and gives the exit code.
pub fn finish(outcome: Result<(), Failure>, format: Format) -> ExitCode {
    ExitCode::from(report(outcome, format, io::stderr()) as u8)
}

fn report(outcome: Result<(), Failure>, format: Format, mut talk: impl Write) -> Exit {
    let Err(failure) = outcome else { return Exit::Done };
    let said = match format {
        Format::Text => failure.to_string(),
        Format::Json => failure.to_json().to_string(),
    };
    // With standard error gone there is nobody left to tell; the exit code still says it.
    let _ = writeln!(talk, "{said}");
    failure.exit
}

/// The form that the user asked results in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON value on one line (`--json`).
    Json,
}

impl Format {
    /// The form for the state of the flag `--json`.
    pub fn from_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    /// Prints a result to standard output.
    pub fn print<T: Serialize + Display>(self, result: &T) -> Result<(), Failure> {
        self.write(result, io::stdout().lock())
    }

    fn write<T: Serialize + Display>(self, result: &T, mut out: impl Write) -> Result<(), Failure> {
        let text = match self {
            Self::Text => result.to_string(),
            Self::Json => serde_json::to_string(result).map_err(Failure::failed)?,
        };
        match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::failed(format_args!("cannot write the result: {e}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Balance {
        sat: u64,
    }

    impl Display for Balance {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            writeln!(f, "{} sat", self.sat)
        }
    }

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_result_is_text_for_people_and_one_json_line_for_scripts() {
        for (json, expected) in [(false, "5 sat\n"), (true, "{\"sat\":5}\n")] {
            let mut out = Vec::new();
            Format::from_flag(json).write(&Balance { sat: 5 }, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        for format in [Format::Text, Format::Json] {
            let write = |kind| format.write(&Balance { sat: 5 }, Broken(kind));
            assert!(write(io::ErrorKind::BrokenPipe).is_ok());
            assert_eq!(write(io::ErrorKind::StorageFull).unwrap_err().exit(), Exit::Failed);
        }
    }

    #[test]
    fn a_failure_says_what_happened_and_what_to_do() {
        let failure =
            Failure::not_now("4f1a:0 has 2 confirmations, needs 6").hint("about 40 minutes from now");
        assert_eq!(
            failure.to_string(),
            "error: 4f1a:0 has 2 confirmations, needs 6\nhint: about 40 minutes from now"
        );
        assert_eq!(Failure::usage("no such key").to_string(), "error: no such key");
        let causes = anyhow::anyhow!("disk full").context("cannot write the backup");
        assert_eq!(Failure::from(causes).to_string(), "error: cannot write the backup: disk full");
    }

    #[test]
    fn exit_codes_never_change_and_only_failures_talk() {
        for (outcome, code, said) in [
            (Ok(()), 0, ""),
            (Err(Failure::failed("refused")), 1, "error: refused\n"),
            (Err(Failure::usage("wrong flag")), 2, "error: wrong flag\n"),
            (Err(Failure::not_now("later").hint("wait")), 3, "error: later\nhint: wait\n"),
        ] {
            let mut talk = Vec::new();
            assert_eq!(report(outcome, Format::Text, &mut talk) as u8, code);
            assert_eq!(String::from_utf8(talk).unwrap(), said);
        }
        let gone = Broken(io::ErrorKind::BrokenPipe);
        assert_eq!(report(Err(Failure::failed("x")), Format::Text, gone), Exit::Failed);
    }

    #[test]
    fn scripts_get_failures_as_json_too_with_the_rule_and_the_numbers_in_them() {
        for (failure, wanted) in [
            (
                Failure::not_now("later").hint("wait"),
                json!({ "error": "later", "hint": "wait", "rule": null, "exit_code": 3 }),
            ),
            (
                Failure::failed("young").rule("depth").fact("missing_blocks", 4),
                json!({ "error": "young", "hint": null, "rule": "depth", "exit_code": 1, "missing_blocks": 4 }),
            ),
        ] {
            let mut talk = Vec::new();
            report(Err(failure), Format::Json, &mut talk);
            let said: Value = serde_json::from_slice(&talk).unwrap();
            assert_eq!(said, wanted);
        }
    }
}
