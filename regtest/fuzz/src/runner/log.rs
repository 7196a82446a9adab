//! What libFuzzer writes: a line for each discovery, statistics at the end, and the file of an input that broke the target.

use std::path::PathBuf;

/// The end of libFuzzer's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Inputs that were run.
    pub executions: u64,
    /// Edges that they took.
    pub edges: u64,
    /// Inputs that are kept because each took one that no other did.
    pub corpus: u64,
    /// The file of the input that broke it.
    pub artifact: Option<PathBuf>,
    /// Whether it came to its end.
    pub ended: bool,
}

impl Said {
    /// Reads the log.
    pub fn read(text: &str) -> Self {
        let mut said = Self::default();
        for line in text.lines() {
            if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
                (said.executions, said.ended) = (count.trim().parse().unwrap_or(0), true);
            }
            if let Some((_, path)) = line.split_once("Test unit written to ") {
                said.artifact = Some(PathBuf::from(path.trim()));
            }
            // #12345	NEW    cov: 678 ft: 1234 corp: 56/789b exec/s: …
            said.edges = number_after(line, " cov: ").unwrap_or(said.edges);
            said.corpus = number_after(line, " corp: ").unwrap_or(said.corpus);
        }
        said
    }
}

fn number_after(line: &str, mark: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix('#').and(line.split_once(mark))?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Running with entropic power schedule\n\
        #2\tINITED cov: 8 ft: 9 corp: 1/4b exec/s: 0 rss: 40Mb\n\
        #2048\tpulse  cov: 35 ft: 41 corp: 7/90b lim: 4 exec/s: 1024 rss: 40Mb\n";

    #[test]
    fn the_last_line_of_progress_and_the_statistics_count() {
        let ended =
            format!("{LOG}Done 4000 runs\nstat::number_of_executed_units: 4000\nstat::peak_rss_mb: 40\n");
        let said = Said { executions: 4_000, edges: 35, corpus: 7, artifact: None, ended: true };
        assert_eq!(Said::read(&ended), said);
    }

    #[test]
    fn an_input_that_is_blamed_is_named() {
        let broken =
            format!("{LOG}artifact_prefix='x/'; Test unit written to x/crash-ab\nBase64: c3Rvcm0=\n");
        let said = Said::read(&broken);
        assert_eq!((said.artifact, said.ended), (Some("x/crash-ab".into()), false));
    }
}
