//! How the story is told: lines as things happen, a bar while waiting, a table at the end. Without a terminal there are no
//! escape codes and no bars.

use bitcoin::{Amount, Txid};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::{self, Display, Formatter};
use std::io::IsTerminal as _;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// All bars of the process share the one terminal, if there is one: a line is printed above them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(|| {
    let terminal = std::io::stdout().is_terminal();
    let target = if terminal { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
    MultiProgress::with_draw_target(target)
});

/// Prints a line. Whether anybody reads it does not decide how the story goes on.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        BARS.suspend(|| {
            let _ = writeln!(std::io::stdout(), $($line)*);
        });
    }};
}

/// The storyteller.
#[derive(Debug)]
pub struct Tell {
    terminal: bool,
    silent: bool,
    started: Instant,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    number: String,
    claim: String,
    took: Duration,
    shown: Shown,
}

/// What shows that a step happened.
#[derive(Debug, Default)]
pub struct Shown {
    /// Bitcoin's tip before and after it.
    pub btc: (u32, u32),
    /// Its transactions.
    pub txs: Vec<ShownTx>,
    /// Places in the report, as `section/index`.
    pub refs: Vec<String>,
}

/// A transaction of a step.
#[derive(Debug)]
pub struct ShownTx {
    /// Its id.
    pub txid: Txid,
    /// What it is in the story.
    pub kind: &'static str,
    /// What it moves, its change left out; none where it carries words, as an anchor does.
    pub amount: Option<Amount>,
    /// The height of its block; none while it waits in the mempool.
    pub height: Option<u32>,
}

impl Display for ShownTx {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let amount = self.amount.map(|amount| format!(" {amount}")).unwrap_or_default();
        let place = self.height.map_or("in the mempool".to_owned(), |height| format!("block {height}"));
        write!(out, "{} {}{amount}, {place}", self.txid, self.kind)
    }
}

/// An amount as people read it.
pub fn btc(sat: u64) -> Amount {
    Amount::from_sat(sat)
}

/// A wait that is shown while this lives.
#[derive(Debug)]
pub struct Waiting(ProgressBar);

impl Waiting {
    /// Says what is waited for, and since when, until the answer is dropped; nothing without a terminal.
    pub fn until(what: &str) -> Self {
        let spinner = shown(ProgressBar::new_spinner(), "{spinner} {msg}: {elapsed}", what);
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self(spinner)
    }

    /// The same for a wait of so many units, of which `more` tells.
    pub fn for_units(what: &str, units: u64) -> Self {
        Self(shown(ProgressBar::new(units), "{msg} {wide_bar} {pos}/{len}", what))
    }

    /// So many more units are over.
    pub fn more(&self, units: u64) {
        self.0.inc(units);
    }
}

fn shown(bar: ProgressBar, template: &str, what: &str) -> ProgressBar {
    let bar = BARS.add(bar.with_message(what.to_owned()));
    if let Ok(style) = ProgressStyle::with_template(&format!("          {template}")) {
        bar.set_style(style);
    }
    bar
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Default for Tell {
    fn default() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            silent: false,
            started: Instant::now(),
            rows: Vec::new(),
        }
    }
}

impl Tell {
    /// One who says nothing, for a story that is only played.
    pub fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    /// A chapter begins.
    pub fn chapter(&self, title: &str) {
        if !self.silent {
            say!("\n{}", self.bold(title));
        }
    }

    /// Something happened.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.silent {
            say!("  {:>6.1} s  {}", self.started.elapsed().as_secs_f32(), text.as_ref());
        }
    }

    /// A step is done; it stands in the table at the end.
    pub fn step(&mut self, number: &str, claim: &str, took: Duration, shown: Shown) {
        self.line(format!("{} {number} {claim}", self.green("done")));
        self.rows.push(Row { number: number.to_owned(), claim: claim.to_owned(), took, shown });
    }

    /// All steps in the order of their numbers, as a table: Bitcoin's heights, the time, the transactions with the amount and
    /// the height of each, and where the report has the rest.
    pub fn table(&mut self) {
        self.rows.sort_by(|one, other| one.number.cmp(&other.number));
        say!("\n{}", self.bold("What happened"));
        say!("  {:<5} {:>9}  {:>7}  what, and what shows it", "step", "blocks", "time");
        for Row { number, claim, took, shown } in &self.rows {
            let (from, to) = shown.btc;
            say!("  {number:<5} {:>9}  {:>5.1} s  {claim}", format!("{from}-{to}"), took.as_secs_f32());
            for tx in &shown.txs {
                say!("{:28}{tx}", "");
            }
            if !shown.refs.is_empty() {
                say!("{:28}report: {}", "", shown.refs.join(", "));
            }
        }
    }

    /// How long the story has been going on.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn bold(&self, text: &str) -> String {
        self.coloured("1", text)
    }

    fn green(&self, text: &str) -> String {
        self.coloured("32", text)
    }

    fn coloured(&self, code: &str, text: &str) -> String {
        if self.terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
