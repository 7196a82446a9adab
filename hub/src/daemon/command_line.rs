//! How our programs read their command line: by clap, once the process's memory is its own.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::exit::{Exit, Failure, Format, finish};
use super::{ask, memory};

/// Reads the command line, for `main`, once the process's memory is its own. A line that cannot be read ends the program with
/// the code for that: told as clap tells it, or, with `--json` anywhere in it, as scripts get every other failure. So does a
/// wish for help, which is no failure.
pub fn parse<C: clap::Parser>() -> Result<C, ExitCode> {
    let args: Vec<OsString> = std::env::args_os().collect();
    let format = Format::from_flag(args.iter().any(|arg| arg == "--json"));
    if format == Format::Json {
        ask::be_silent();
    }
    if let Err(why) = memory::keep_private() {
        return Err(finish(Err(Failure::failed(format_args!("cannot forbid core files: {why}"))), format));
    }
    C::try_parse_from(args).map_err(|why| match format {
        Format::Json if why.use_stderr() => finish(Err(unreadable(&why)), format),
        _ => {
            // With nobody left to tell, the exit code still says it.
            let _ = why.print();
            ExitCode::from(if why.use_stderr() { Exit::Usage } else { Exit::Done } as u8)
        }
    })
}

/// What clap says of a command line: its first paragraph is what is wrong with it, the rest helps.
fn unreadable(why: &clap::Error) -> Failure {
    if why.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("a command is missing").hint("--help lists the commands");
    }
    let text = why.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let on_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    Failure::usage(on_one_line(message.trim_start_matches("error: "))).hint(on_one_line(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[arg(long)]
        #[allow(dead_code, reason = "only its absence is looked at")]
        amount: u8,
    }

    #[test]
    fn scripts_get_a_command_line_that_cannot_be_read_as_json_too() {
        for (args, error, hint) in [
            (["x", "--amount", "9", "--frob"].as_slice(), "unexpected argument '--frob' found", "Usage: x"),
            (&["x"], "the following required arguments were not provided: --amount <AMOUNT>", "Usage: x"),
            (&["x", "--amount", "many"], "invalid value 'many' for '--amount <AMOUNT>'", "--help"),
        ] {
            let why = <Cli as clap::Parser>::try_parse_from(args).unwrap_err();
            let said = unreadable(&why).to_json();
            assert!(said["error"].as_str().unwrap().starts_with(error), "{said}");
            assert!(said["hint"].as_str().unwrap().contains(hint) && said["exit_code"] == 2, "{said}");
        }
    }
}
