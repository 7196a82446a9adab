//! Reading a configuration file: bounded, strictly typed, and each refusal names the file and the key.
//!
//! A process has one configuration struct, with `#[serde(deny_unknown_fields)]` on it and on every table in it, and
//! `#[serde(default)]` where a missing key has a default. Its commented default file is committed beside it; a test
//! of the process reads that file with [`parse`].
//!
//! Not here: parameters of the protocol. Those come from the genesis document and the log, never from a file.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::bounded;
use super::network::{MainnetConsent, Network};
use super::private_file;

/// Longest configuration file.
pub const MAX_BYTES: usize = 64 * 1024;

/// What a configuration must answer for, beyond the types of its keys.
pub trait Validate {
    /// The key `network`.
    fn network(&self) -> Network;

    /// The key `mainnet`.
    fn mainnet_consent(&self) -> Option<MainnetConsent>;

    /// Rules between keys, which no single type can hold.
    fn validate(&self) -> Result<(), Invalid>;
}

/// A key whose value breaks a rule of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {rule}")]
pub struct Invalid {
    /// The key, with dots between tables.
    pub key: String,
    /// The rule, and what was found.
    pub rule: String,
}

impl Invalid {
    /// The value of `key` breaks `rule`.
    pub fn new(key: impl Into<String>, rule: impl ToString) -> Self {
        Self { key: key.into(), rule: rule.to_string() }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The genesis document that the configuration or the command line names is none that can be used.
    #[error("genesis document {}: {reason}", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The default file cannot be written.
    #[error("cannot write the configuration {}: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// More bytes than a configuration can have.
    #[error("configuration {}: more than {MAX_BYTES} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The text is not TOML, or a key is unknown, missing or of the wrong type.
    #[error("configuration {}, line {line}{}: {reason}", path.display(), in_key(key))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, or the table that holds it, with dots between tables; empty at the top.
        key: String,
        /// What was wrong.
        reason: String,
    },
    /// A rule between keys is broken.
    #[error("configuration {}: {broken}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key and its rule.
        broken: Invalid,
    },
}

fn in_key(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(", `{key}`") }
}

/// Reads and checks the configuration in the file `path`.
pub fn load<T: DeserializeOwned + Validate>(path: &Path) -> Result<T, ConfigError> {
    let unreadable = |cause| ConfigError::Unreadable { path: path.to_owned(), cause };
    let bytes = bounded::read(path, MAX_BYTES).map_err(unreadable)?;
    let bytes = bytes.ok_or_else(|| ConfigError::TooLong { path: path.to_owned() })?;
    let text =
        String::from_utf8(bytes).map_err(|e| unreadable(io::Error::new(io::ErrorKind::InvalidData, e)))?;
    parse(path, &text)
}

/// Checks the configuration in `text`; `path` only names it in errors.
pub fn parse<T: DeserializeOwned + Validate>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let malformed = |key: String, error: &toml::de::Error| ConfigError::Malformed {
        path: path.to_owned(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        key,
        reason: error.message().trim_end().replace('\n', "; "),
    };
    let deserializer = toml::Deserializer::parse(text).map_err(|e| malformed(String::new(), &e))?;
    let config: T = serde_path_to_error::deserialize(deserializer).map_err(|e| {
        malformed(e.path().iter().map(|s| s.to_string()).collect::<Vec<_>>().join("."), e.inner())
    })?;
    check(&config).map_err(|broken| ConfigError::Invalid { path: path.to_owned(), broken })?;
    Ok(config)
}

fn check(config: &impl Validate) -> Result<(), Invalid> {
    config
        .network()
        .permitted(config.mainnet_consent())
        .map_err(|refused| Invalid::new("network", refused))?;
    config.validate()
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// Writes a default configuration with mode 0600 unless the file exists, and says whether it wrote.
/// An existing file is the operator's: it is left as it is.
pub fn write_default(path: &Path, text: &str) -> Result<bool, ConfigError> {
    match private_file::create(path, text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(cause) => Err(ConfigError::Unwritable { path: path.to_owned(), cause }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use serde::Deserialize;
    use tempfile::TempDir;

    use super::*;
    use crate::daemon::endpoint::{HubConfig, ListenAddr};
    use crate::daemon::interval::Interval;
    use crate::daemon::node::BitcoinConfig;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        network: Network,
        mainnet: Option<MainnetConsent>,
        #[serde(default = "one_second")]
        poll_interval_ms: Interval,
        #[serde(default)]
        slow_interval_ms: Option<Interval>,
        bitcoin: BitcoinConfig,
        hub: HubConfig,
        listen: ListenAddr,
    }

    fn one_second() -> Interval {
        Interval::from_ms(1_000).unwrap()
    }

    impl Validate for Example {
        fn network(&self) -> Network {
            self.network
        }

        fn mainnet_consent(&self) -> Option<MainnetConsent> {
            self.mainnet
        }

        fn validate(&self) -> Result<(), Invalid> {
            if self.slow_interval_ms.is_some_and(|slow| slow < self.poll_interval_ms) {
                return Err(Invalid::new("slow_interval_ms", "must not be less than `poll_interval_ms`"));
            }
            Ok(())
        }
    }

    const TABLES: &str = "
[bitcoin]
rpc_url = 'http://127.0.0.1:18443'
cookie_file = '/cookie'
[hub]
url = 'http://127.0.0.1:1'
[listen]
address = '127.0.0.1:0'
";

    fn example(top: &str) -> Result<Example, ConfigError> {
        parse(Path::new("x.toml"), &format!("{top}\n{TABLES}"))
    }

    /// The message for a configuration with this first line, without the start that every message shares.
    fn refusal(top: &str) -> String {
        let message = example(top).unwrap_err().to_string();
        message.strip_prefix("configuration x.toml").expect("names the file").to_owned()
    }

    #[test]
    fn a_missing_interval_has_its_default_and_a_given_one_counts() {
        assert_eq!(example("network = 'regtest'").unwrap().poll_interval_ms, one_second());
        let config = example("network = 'regtest'\npoll_interval_ms = 250").unwrap();
        assert_eq!(u64::from(config.poll_interval_ms), 250);
        assert_eq!(config.bitcoin.rpc_url().port(), Some(18443));
        assert_eq!(config.hub.url().port(), Some(1));
        assert_eq!(config.listen.address().port(), 0);
    }

    #[test]
    fn a_wrong_interval_is_refused_by_its_key_and_line() {
        for (value, reason) in [
            ("0", "must be from 1 to 86400000 milliseconds, found 0"),
            ("86400001", "must be from 1 to 86400000 milliseconds, found 86400001"),
            ("-5", "invalid value: integer `-5`, expected u64"),
            ("1.5", "invalid type: floating point `1.5`, expected u64"),
            ("'1s'", "invalid type: string \"1s\", expected u64"),
        ] {
            let message = refusal(&format!("network = 'regtest'\npoll_interval_ms = {value}"));
            assert_eq!(message, format!(", line 2, `poll_interval_ms`: {reason}"));
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_at_any_depth() {
        let message = refusal("network = 'regtest'\npol_interval_ms = 5");
        let start = ", line 2, `pol_interval_ms`: unknown field `pol_interval_ms`, expected one of `network`";
        assert!(message.starts_with(start), "{message}");
        let text = format!("network = 'regtest'\n{TABLES}ports = 3\n");
        let message = parse::<Example>(Path::new("x.toml"), &text).unwrap_err().to_string();
        assert!(message.contains("line 10, `listen.ports`: unknown field `ports`"), "{message}");
    }

    #[test]
    fn a_missing_key_a_repeated_key_and_broken_text_are_refused() {
        assert!(refusal("").contains("missing field `network`"));
        assert!(refusal("network = 'regtest'\nnetwork = 'regtest'").contains("line 2"));
        assert!(refusal("network = ").contains("line 1"));
        for text in ["network = ", "", "[", "network = 'regtest'\n\u{1}"] {
            let message = parse::<Example>(Path::new("x.toml"), text).unwrap_err().to_string();
            assert!(!message.contains('\n'), "one line: {message}");
        }
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused_by_its_name() {
        let tables = TABLES.replace("cookie_file = '/cookie'", "cookie_file = '/cookie'\nuser = 'u'");
        let text = format!("network = 'regtest'\n{tables}");
        let message = parse::<Example>(Path::new("x.toml"), &text).unwrap_err().to_string();
        assert!(message.contains("`bitcoin`: give either `cookie_file`"), "{message}");
    }

    #[test]
    fn mainnet_is_refused_without_the_sentence() {
        let mainnet = "network = 'bitcoin'";
        let message = refusal(mainnet);
        assert!(
            message.contains("`network`: mainnet needs a second key: mainnet = \"I understand"),
            "{message}"
        );
        let message = refusal(&format!("{mainnet}\nmainnet = 'yes'"));
        assert!(message.contains("line 2, `mainnet`: must read exactly"), "{message}");
        let said = format!("{mainnet}\nmainnet = '{}'", MainnetConsent::SENTENCE);
        assert_eq!(example(&said).unwrap().network.bitcoin(), bitcoin::Network::Bitcoin);
    }

    #[test]
    fn rules_between_keys_are_asked_last() {
        let message = refusal("network = 'regtest'\npoll_interval_ms = 10\nslow_interval_ms = 9");
        assert_eq!(message, ": `slow_interval_ms`: must not be less than `poll_interval_ms`");
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a name.toml");
        let read = || load::<Example>(&path);
        assert!(matches!(read(), Err(ConfigError::Unreadable { .. })));
        fs::write(&path, format!("network = 'regtest'\n{TABLES}")).unwrap();
        assert!(read().is_ok());
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(read(), Err(ConfigError::Unreadable { .. })));
        fs::write(&path, "#".repeat(MAX_BYTES + 1)).unwrap();
        assert!(matches!(read(), Err(ConfigError::TooLong { .. })));
        assert!(matches!(load::<Example>(dir.path()), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn a_default_file_is_private_and_never_replaces_one() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("x.toml");
        assert!(write_default(&path, "first").unwrap());
        assert!(!write_default(&path, "second").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let nowhere = dir.path().join("missing/x.toml");
        assert!(matches!(write_default(&nowhere, ""), Err(ConfigError::Unwritable { .. })));
    }
}
