//! The question before money moves.

use palisade_hub::daemon::exit::Failure;
use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal as _, Write};

/// Shows what is about to happen and asks whether it should. With `yes` nobody is asked; without a terminal to ask at,
/// nothing happens.
pub fn confirm(summary: &impl Display, yes: bool) -> Result<(), Failure> {
    // A closed standard error must not decide whether money moves.
    let _ = writeln!(io::stderr(), "{}", summary.to_string().trim_end());
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked here").hint("add --yes if this is what you want"));
    }
    answer(io::stdin().lock(), io::stderr())
}

fn answer(mut from: impl BufRead, mut to: impl Write) -> Result<(), Failure> {
    let no_terminal = |why: io::Error| Failure::failed(format_args!("cannot ask: {why}"));
    write!(to, "Do it? [y/N] ").and_then(|()| to.flush()).map_err(no_terminal)?;
    let mut line = String::new();
    from.read_line(&mut line).map_err(no_terminal)?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("not done: you did not say yes")),
    }
}

/// Says how a longer wait goes on, on standard error.
pub fn progress(text: impl Display) {
    // Nobody listening is no reason to stop.
    let _ = writeln!(io::stderr(), "{text}");
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
            assert_eq!(answer(typed.as_bytes(), &mut shown).is_ok(), done, "{typed:?}");
            assert_eq!(shown, b"Do it? [y/N] ");
        }
    }
}
