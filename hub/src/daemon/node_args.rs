//! The flags that name a Bitcoin node.

use super::exit::Failure;
use super::password::PasswordSource;
use super::template::{NoSuchKey, Template};
use crate::bitcoind::{Auth, BitcoinRpc};
use clap::Args;
use std::path::{Path, PathBuf, absolute};
use toml::Value;

/// Where a node is, and how it knows us.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// RPC address of your bitcoind (with txindex=1).
    #[arg(long = "bitcoin", alias = "bitcoin-rpc", default_value = "http://127.0.0.1:18443")]
    pub url: String,
    /// Its cookie file.
    #[arg(long, alias = "bitcoin-cookie")]
    pub cookie: Option<PathBuf>,
    /// Or its user,
    #[arg(long = "bitcoin-user", requires = "password_file_of_user", conflicts_with = "cookie")]
    pub user: Option<String>,
    /// and the file that holds that user's password, 0600.
    #[arg(long = "bitcoin-password-file", id = "password_file_of_user", requires = "user")]
    pub user_password: Option<PathBuf>,
}

impl NodeArgs {
    /// Whether any way to authenticate was named.
    pub fn is_given(&self) -> bool {
        self.cookie.is_some() || self.user.is_some()
    }

    /// A client of the node.
    pub fn connect(&self) -> Result<BitcoinRpc, Failure> {
        let auth = match (&self.cookie, &self.user) {
            (Some(cookie), _) => Auth::Cookie(cookie.clone()),
            (None, Some(user)) => {
                let source = PasswordSource::choose(self.user_password.clone(), None);
                let password = source.read("Password of the Bitcoin node: ").map_err(Failure::failed)?;
                Auth::UserPass { user: user.clone(), password: password.expose().to_owned() }
            }
            (None, None) => return Err(BadNodeArgs::Nameless.into()),
        };
        BitcoinRpc::new(&self.url, auth).map_err(|why| Failure::usage(format_args!("Bitcoin node: {why}")))
    }

    /// Fills a configuration's table `bitcoin` in: where the node is and how it knows us, with absolute paths.
    pub fn fill(&self, config: Template) -> Result<Template, BadNodeArgs> {
        let path = |path: &Path| {
            let whole = absolute(path).map_err(|cause| BadNodeArgs::Path { path: path.to_owned(), cause });
            whole.map(|path| Value::String(path.display().to_string()))
        };
        let known = match (&self.cookie, &self.user, &self.user_password) {
            (Some(cookie), ..) => vec![("cookie_file", path(cookie)?)],
            (None, Some(user), Some(file)) => {
                vec![("user", Value::String(user.clone())), ("password_file", path(file)?)]
            }
            _ => return Err(BadNodeArgs::Nameless),
        };
        Ok(config.text("bitcoin.rpc_url", &self.url)?.replace("bitcoin.cookie_file", &known)?)
    }
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

impl From<BadNodeArgs> for Failure {
    fn from(why: BadNodeArgs) -> Self {
        Self::usage(why)
    }
}
