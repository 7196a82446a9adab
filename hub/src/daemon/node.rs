//! How a process reaches its Bitcoin node.
//!
//! Secrets are named by path, never written in a configuration.

use std::io::Read;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::bounded;
use super::endpoint::{EndpointRefused, NotHttp, http_url};
use super::password::{Password, PasswordError, PasswordSource};
use super::template::NoSuchKey;

/// Longest cookie file read: bitcoind writes 75 bytes.
const MAX_COOKIE_BYTES: usize = 1024;

/// Why the table `[bitcoin]` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeRefused {
    /// The address is none.
    #[error(transparent)]
    Url(#[from] EndpointRefused),
    /// Neither or both ways to authenticate.
    #[error("give either `cookie_file`, or `user` and `password_file`, and not both")]
    Credentials,
}

/// The table `[bitcoin]`: how to reach bitcoind's RPC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawBitcoin")]
pub struct BitcoinConfig {
    rpc_url: Url,
    auth: BitcoinAuth,
}

/// How we show bitcoind who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BitcoinAuth {
    /// The file that bitcoind writes anew at each of its starts (`cookie_file`).
    Cookie(PathBuf),
    /// A fixed user (`user`) whose password is the first line of a 0600 file (`password_file`).
    User {
        /// The user's name.
        user: String,
        /// The file of the password.
        password_file: PathBuf,
    },
}

/// A user's name and password for bitcoind.
#[derive(Debug)]
pub struct BitcoinCredentials {
    /// The user's name; `__cookie__` from a cookie.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// Flags that do not name a Bitcoin node.
#[derive(Debug, thiserror::Error)]
pub enum BadNodeArgs {
    /// There is no way for the node to know us.
    #[error("the Bitcoin node must know us: --cookie FILE, or --bitcoin-user and --bitcoin-password-file")]
    Nameless,
    /// A path that is none.
    #[error("{}: {cause}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The configuration is another.
    #[error(transparent)]
    Key(#[from] NoSuchKey),
}

/// Why there are no credentials now. Asking again can help: bitcoind may not have written its cookie yet.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The cookie could not be read.
    #[error("cannot read bitcoind's cookie {}: {cause}", path.display())]
    Cookie {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The cookie is not `user:password` on one line.
    #[error("{} is not a cookie of bitcoind (user:password)", path.display())]
    NotACookie {
        /// The file.
        path: PathBuf,
    },
    /// The password file could not be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

impl BitcoinConfig {
    /// The address of the RPC.
    pub fn rpc_url(&self) -> &Url {
        &self.rpc_url
    }

    /// The way to authenticate.
    pub fn auth(&self) -> &BitcoinAuth {
        &self.auth
    }
}

impl BitcoinAuth {
    /// Reads the credentials from their file. Read them again after a 401: a restarted bitcoind has a new cookie.
    pub fn credentials(&self) -> Result<BitcoinCredentials, CredentialsError> {
        match self {
            Self::Cookie(path) => read_cookie(path),
            Self::User { user, password_file } => {
                let password = PasswordSource::File(password_file.clone()).read("")?;
                Ok(BitcoinCredentials { user: user.clone(), password })
            }
        }
    }
}

fn read_cookie(path: &Path) -> Result<BitcoinCredentials, CredentialsError> {
    let cannot = |cause| CredentialsError::Cookie { path: path.to_owned(), cause };
    bounded::check(&path.metadata().map_err(cannot)?).map_err(cannot)?;
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut text = Zeroizing::new(String::with_capacity(MAX_COOKIE_BYTES + 64));
    // bitcoind decides on the cookie's permissions (-rpccookieperms), so they are not judged here.
    file.take(MAX_COOKIE_BYTES as u64).read_to_string(&mut text).map_err(cannot)?;
    let (user, password) = text.trim_end().split_once(':').unwrap_or_default();
    match Password::new(password.to_owned()) {
        Ok(password) if !user.is_empty() => Ok(BitcoinCredentials { user: user.to_owned(), password }),
        _ => Err(CredentialsError::NotACookie { path: path.to_owned() }),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBitcoin {
    rpc_url: String,
    cookie_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
}

impl TryFrom<RawBitcoin> for BitcoinConfig {
    type Error = NodeRefused;

    fn try_from(raw: RawBitcoin) -> Result<Self, NodeRefused> {
        let auth = match (raw.cookie_file, raw.user, raw.password_file) {
            (Some(cookie), None, None) => BitcoinAuth::Cookie(cookie),
            (None, Some(user), Some(password_file)) => BitcoinAuth::User { user, password_file },
            _ => return Err(NodeRefused::Credentials),
        };
        let rpc_url = http_url(&raw.rpc_url).map_err(|NotHttp| EndpointRefused::Url { key: "rpc_url" })?;
        Ok(Self { rpc_url, auth })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::daemon::private_file;

    fn read(table: &str) -> Result<BitcoinConfig, String> {
        toml::from_str(table).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn bitcoind_is_given_exactly_one_way_to_know_us() {
        let url = "rpc_url = 'http://127.0.0.1:18443'";
        let cookie = "cookie_file = '/c'";
        let (user, password) = ("user = 'u'", "password_file = '/p'");
        for (keys, accepted) in [
            (vec![cookie], true),
            (vec![user, password], true),
            (vec![], false),
            (vec![user], false),
            (vec![password], false),
            (vec![cookie, user], false),
            (vec![cookie, password], false),
            (vec![cookie, user, password], false),
        ] {
            let table = format!("{url}\n{}", keys.join("\n"));
            let config = read(&table);
            assert_eq!(config.is_ok(), accepted, "{table}");
            if let Err(message) = config {
                assert_eq!(message, NodeRefused::Credentials.to_string());
            }
        }
    }

    #[test]
    fn a_password_in_the_table_and_an_unusable_address_are_refused() {
        let message = read("rpc_url = 'http://h'\ncookie_file = 'c'\npassword = 'p'").unwrap_err();
        assert!(message.contains("unknown field `password`"), "{message}");
        let message = read("rpc_url = 'http://u:p@h'\ncookie_file = 'c'").unwrap_err();
        assert!(message.contains("`rpc_url` must be"), "{message}");
    }

    #[test]
    fn a_cookie_is_read_anew_each_time() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(".cookie");
        let auth = BitcoinAuth::Cookie(path.clone());
        assert!(matches!(auth.credentials(), Err(CredentialsError::Cookie { .. })));
        for (cookie, expected) in [
            ("__cookie__:0a1b", Some(("__cookie__", "0a1b"))),
            ("__cookie__:second:half\n", Some(("__cookie__", "second:half"))),
            ("", None),
            ("nocolon", None),
            (":password", None),
            ("user:", None),
        ] {
            fs::write(&path, cookie).unwrap();
            let found = auth.credentials().ok();
            let found = found.as_ref().map(|c| (c.user.as_str(), c.password.expose()));
            assert_eq!(found, expected, "{cookie}");
        }
    }

    #[test]
    fn a_user_password_comes_from_a_private_file() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("password");
        private_file::create(&path, b"hunter2\n").unwrap();
        let auth = BitcoinAuth::User { user: "palisade".into(), password_file: path };
        let credentials = auth.credentials().unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.expose()), ("palisade", "hunter2"));
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
