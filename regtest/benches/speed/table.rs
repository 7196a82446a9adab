//! The table that a run ends with.

use crate::measure::cores;

/// What a row has to reach.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At least this part of the floor's speed.
    OfFloor(f64),
    /// At least so many times Go's speed.
    TimesGo(f64),
    /// At least so many in a second.
    PerSecond(f64),
    /// At most so many times the first row of its kind, which took so long.
    TimesFirst(f64, f64),
    /// At most so many seconds.
    Within(f64),
    /// Nothing: another row is compared with it.
    None,
}

/// One line of the table; times in microseconds.
#[derive(Debug)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// How long it took here.
    pub ours: f64,
    /// How long libsecp256k1 took for its part of it, in the same run.
    pub floor: Option<f64>,
    /// How long Babylon's Go took, as docs/design.md cites it.
    pub go: Option<f64>,
    /// What is wanted.
    pub target: Target,
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let (ours, floor, go) = (self.ours, self.floor, self.go);
        let or_nothing = |cell: Option<String>| cell.unwrap_or_default();
        let (target, meets) = match self.target {
            Target::OfFloor(part) => (format!(">= {part} of the floor"), floor.map(|f| f / ours >= part)),
            Target::TimesGo(times) => (format!(">= {times} x Go"), go.map(|go| go / ours >= times)),
            Target::PerSecond(count) => (format!(">= {count} a second"), Some(1e6 / ours >= count)),
            Target::TimesFirst(times, first) => {
                (format!("<= {times} x the first"), Some(ours / first <= times))
            }
            Target::Within(seconds) => (format!("<= {seconds} s"), Some(ours / 1e6 <= seconds)),
            Target::None => (String::new(), None),
        };
        let ratio = match self.target {
            Target::TimesGo(_) => go.map(|go| format!("{:.1} x Go", go / ours)),
            Target::PerSecond(_) => Some(format!("{:.0} a second", 1e6 / ours)),
            Target::TimesFirst(_, first) => Some(format!("{:.2} x the first", ours / first)),
            Target::Within(_) => Some(format!("{:.1} s", ours / 1e6)),
            Target::OfFloor(_) => floor.map(|floor| format!("{:.2} of the floor", floor / ours)),
            Target::None => None,
        };
        [
            self.work.clone(),
            format!("{ours:.1}"),
            or_nothing(floor.map(|floor| format!("{floor:.1}"))),
            or_nothing(go.map(|go| format!("{go:.0}"))),
            or_nothing(ratio),
            target,
            or_nothing(meets.map(|meets| if meets { "meets" } else { "misses" }.to_owned())),
        ]
    }
}

/// The rows below their headings, as Markdown that is easy to read as it is.
pub fn render(rows: &[Row]) -> String {
    let heads = ["work (microseconds)", "ours", "libsecp256k1", "Go, cited", "ratio", "target", ""];
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let widths: [usize; 7] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0));
    lines.insert(1, widths.map(|width| "-".repeat(width)));
    let lines = lines.iter().map(|line| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    });
    format!("\nOn {} cores:\n\n{}", cores(), lines.collect::<Vec<_>>().join("\n"))
}
