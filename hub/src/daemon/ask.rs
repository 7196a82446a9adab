//! The question before what cannot be taken back.

use super::exit::Failure;
use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether a program reads standard error, so that nothing but a failure may stand there.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Says nothing on standard error from now on but what a person at a terminal is asked: with `--json` it is for failures.
pub fn be_silent() {
    SILENT.store(true, Ordering::Relaxed);
}

fn is_silent() -> bool {
    SILENT.load(Ordering::Relaxed)
}

/// Shows what is about to happen and asks whether it should. With `yes` nobody is asked; without a terminal to ask at,
/// nothing happens.
pub fn confirm(summary: &impl Display, yes: bool) -> Result<(), Failure> {
    let stdin = io::stdin();
    let terminal = stdin.is_terminal();
    if is_silent() && (yes || !terminal) {
        return ask(summary, yes, terminal, stdin.lock(), io::sink());
    }
    ask(summary, yes, terminal, stdin.lock(), io::stderr())
}

fn ask(
    summary: &impl Display,
    yes: bool,
    terminal: bool,
    mut from: impl BufRead,
    mut to: impl Write,
) -> Result<(), Failure> {
    let no_terminal = |why: io::Error| Failure::failed(format_args!("cannot ask: {why}"));
    let shown = writeln!(to, "{}", summary.to_string().trim_end());
    if yes {
        // Whether anybody reads it does not decide what was decided.
        return Ok(());
    }
    if !terminal {
        return Err(Failure::usage("nobody can be asked here")
            .rule("not-asked")
            .hint("add --yes if this is what you want"));
    }
    shown.and_then(|()| write!(to, "Do it? [y/N] ")).and_then(|()| to.flush()).map_err(no_terminal)?;
    let mut line = String::new();
    from.read_line(&mut line).map_err(no_terminal)?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("not done: you did not say yes")),
    }
}

/// Says how a longer wait goes on, on standard error.
pub fn progress(text: impl Display) {
    if !is_silent() {
        // Nobody listening is no reason to stop.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// How long somebody waits who is told nothing.
pub const SILENCE: Duration = Duration::from_secs(2);

/// Does something, and says what it is once that has taken so long.
pub async fn patiently<T>(quiet: Duration, what: impl Display, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(quiet) => progress(what),
    }
    work.await
}

/// Says what a key is about to sign, before its password is asked for: also with `--json`, where a person is at the terminal.
pub fn announce(text: impl Display) {
    if !is_silent() || io::stdin().is_terminal() {
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Says what failed where a command goes on without it, and how.
pub fn go_on(why: &Failure, how: impl Display) {
    progress(format_args!("warning: {}\n({how})", why.message()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (typed, done) in [
            ("y\n", true),
            ("Y\n", true),
            (" yes \n", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yeah\n", false),
            ("yes please\n", false),
        ] {
            let mut shown = Vec::new();
            assert_eq!(
                ask(&"Lock it.", false, true, typed.as_bytes(), &mut shown).is_ok(),
                done,
                "{typed:?}"
            );
            assert_eq!(shown, b"Lock it.\nDo it? [y/N] ");
        }
    }

    #[test]
    fn nobody_is_asked_with_yes_and_nothing_happens_where_nobody_can_be_asked() {
        let mut shown = Vec::new();
        assert!(ask(&"Lock it.\n", true, false, "n\n".as_bytes(), &mut shown).is_ok());
        assert_eq!(shown, b"Lock it.\n");
        let refused = ask(&"Lock it.", false, false, "y\n".as_bytes(), io::sink()).unwrap_err();
        assert!(refused.to_string().contains("add --yes"), "{refused}");
    }
}
