//! The holder's wallet, as a program.

use palisade_hub::daemon::command_line;
use palisade_hub::daemon::exit::{self, Failure};
use palisade_hub::daemon::shutdown;
use palisade_staker::cli::{Cli, carry_out};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli: Cli = match command_line::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let format = cli.format();
    let outcome = shutdown::run(|shutdown| async move {
        tokio::select! {
            outcome = carry_out(cli) => outcome,
            () = shutdown.requested() => Err(Failure::not_now("stopped before the end")
                .hint("what was begun is written down; `palisade-staker status` says how it stands")),
        }
    });
    exit::finish(outcome.map_err(Failure::failed).and_then(|outcome| outcome), format)
}
