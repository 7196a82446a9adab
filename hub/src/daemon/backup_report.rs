//! What `backup` says: what it saved, what is not in it, and how to go on with it.

use super::backup::Saved;
use serde::Serialize;
use std::fmt;

/// A whole backup, for people and for programs.
#[derive(Debug, Serialize)]
pub struct BackupReport {
    /// Where it is, and what is in it.
    #[serde(flatten)]
    pub saved: Saved,
    /// What is not in it, and why.
    pub left_out: Vec<&'static str>,
    /// What restores it, step by step.
    pub restore: Vec<String>,
}

impl fmt::Display for BackupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "saved in {}:", self.saved.directory.display())?;
        for file in &self.saved.files {
            writeln!(f, "  {:>10}  {}", file.bytes, file.name)?;
        }
        writeln!(f, "not saved:")?;
        for what in &self.left_out {
            writeln!(f, "  {what}")?;
        }
        write!(f, "to restore it, anywhere:")?;
        self.restore.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

/// The step that starts a restored daemon: its configuration names the files beside it.
pub fn start(command: &str) -> String {
    format!("cd THE-COPY && {command}")
}
