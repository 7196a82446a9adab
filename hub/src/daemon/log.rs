//! Logging to standard error: one line per fact.
//!
//! INFO is what an operator would act on, DEBUG the steps towards it. `PALISADE_LOG` selects, in the syntax of
//! `tracing-subscriber`'s `EnvFilter` (for example `info,palisade_hub=debug`). Colours only on a terminal, and not
//! with `NO_COLOR`. Text from outside cannot break a line: line ends inside an event are written as `\n` and `\r`.

use std::env::{self, VarError};
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that selects what is logged.
pub const VARIABLE: &str = "PALISADE_LOG";

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The variable cannot be read as a filter.
    #[error("environment variable {VARIABLE}: {cause}")]
    Filter {
        /// What is wrong with it.
        cause: ParseError,
    },
    /// The variable is not text.
    #[error("environment variable {VARIABLE} is not UTF-8")]
    NotText,
    /// Logging was started before in this process.
    #[error("logging has been started before")]
    Twice,
}

/// Starts logging for the whole process. Called once, first thing in `main`.
pub fn init() -> Result<(), LogError> {
    let filter = match env::var(VARIABLE) {
        Ok(text) => filter(&text)?,
        Err(VarError::NotPresent) => filter("")?,
        Err(VarError::NotUnicode(_)) => return Err(LogError::NotText),
    };
    let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    subscriber(filter, colours, io::stderr).try_init().map_err(|_| LogError::Twice)
}

fn filter(text: &str) -> Result<EnvFilter, LogError> {
    let text = if text.trim().is_empty() { "info" } else { text };
    EnvFilter::try_new(text).map_err(|cause| LogError::Filter { cause })
}

fn subscriber<M>(filter: EnvFilter, colours: bool, inner: M) -> impl tracing::Subscriber + Send + Sync
where
    M: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    // What cannot be written (a full disk, a reader that has ended) is lost, and nothing else: to tell it on standard error, as the
    // library would, panics there.
    format.log_internal_errors(false).with_writer(OneLine(inner)).finish()
}

/// Writes each event, which arrives in one piece, as exactly one line.
struct OneLine<M>(M);

struct OneLineWriter<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = OneLineWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter(self.0.make_writer())
    }
}

impl<W: Write> Write for OneLineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        let mut line = Vec::with_capacity(event.len() + 1);
        for byte in body {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                byte => line.push(*byte),
            }
        }
        line.push(b'\n');
        self.0.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `act` logs under a filter.
    fn logged(text: &str, colours: bool, act: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(filter(text).unwrap(), colours, move || writer.clone());
        tracing::subscriber::with_default(subscriber, act);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_fact_is_one_line_whatever_it_quotes() {
        let reason = "first\nsecond\r\n2030-01-01 ERROR forged";
        let text = logged("", false, || tracing::info!(height = 7, %reason, "stake\nrefused"));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.ends_with('\n') && !text.contains('\r'), "{text}");
        for part in ["INFO", "height=7", "stake\\nrefused", "first\\nsecond\\r\\n2030-01-01"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn info_is_the_default_and_the_variable_changes_it() {
        let act = || {
            tracing::debug!("a step");
            tracing::info!("a fact");
            tracing::error!("a failure");
        };
        for (filter, lines) in
            [("", 2), ("  ", 2), ("debug", 3), ("error", 1), ("off", 0), ("info,palisade_hub=debug", 3)]
        {
            assert_eq!(logged(filter, false, act).lines().count(), lines, "{filter:?}");
        }
    }

    #[test]
    fn colours_are_for_terminals() {
        let act = || tracing::info!("a fact");
        assert!(!logged("", false, act).contains('\x1b'));
        assert!(logged("", true, act).contains('\x1b'));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_the_name_of_the_variable() {
        let message = filter("info,[=").map(|_| ()).unwrap_err().to_string();
        assert!(message.starts_with("environment variable PALISADE_LOG: "), "{message}");
    }
}
