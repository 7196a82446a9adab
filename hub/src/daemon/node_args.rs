//! The flags that name a Bitcoin node.

use super::exit::Failure;
use super::node::BadNodeArgs;
use super::password::PasswordSource;
use super::template::Template;
use crate::bitcoind::{Auth, BitcoinRpc};
use clap::{ArgGroup, Args};
use std::path::{Path, PathBuf, absolute};
use toml::Value;

/// Which of the flags says how the node knows us.
pub const LOGIN: &str = "login";

/// Where a node is, and how it knows us: one of the two ways must be named, and the usage line says so. A command that does
/// not always need a node makes the group [`LOGIN`] optional.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new(LOGIN).args(["cookie", "user"]).required(true))]
pub struct NodeArgs {
    /// RPC address of your bitcoind (with txindex=1).
    #[arg(long = "bitcoin", alias = "bitcoin-rpc", default_value = "http://127.0.0.1:18443")]
    pub url: String,
    /// Its cookie file.
    #[arg(long, alias = "bitcoin-cookie", value_name = "FILE")]
    pub cookie: Option<PathBuf>,
    /// Or its user,
    #[arg(long = "bitcoin-user", requires = "password_file_of_user", conflicts_with = "cookie")]
    pub user: Option<String>,
    /// and the file that holds that user's password, 0600.
    #[arg(
        long = "bitcoin-password-file",
        id = "password_file_of_user",
        requires = "user",
        value_name = "FILE"
    )]
    pub user_password: Option<PathBuf>,
}

impl NodeArgs {
    /// Whether any way to authenticate was named.
    pub fn is_given(&self) -> bool {
        self.cookie.is_some() || self.user.is_some()
    }

    /// The same flags, for a command that the user can enter.
    pub fn flags(&self) -> String {
        let path = |flag: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| format!(" {flag} '{}'", path.display())).unwrap_or_default()
        };
        let user = self.user.as_ref().map(|user| format!(" --bitcoin-user '{user}'")).unwrap_or_default();
        let (cookie, password) =
            (path("--cookie", &self.cookie), path("--bitcoin-password-file", &self.user_password));
        format!("--bitcoin {}{cookie}{user}{password}", self.url)
    }

    /// A client of the node.
    pub fn connect(&self) -> Result<BitcoinRpc, Failure> {
        let auth = match (&self.cookie, &self.user) {
            (Some(cookie), _) => Auth::Cookie(cookie.clone()),
            (None, Some(user)) => {
                let source = PasswordSource::choose(self.user_password.clone(), None);
                let password = source.read("Password of the Bitcoin node: ").map_err(|why| {
                    Failure::usage(format_args!("--bitcoin-password-file: {why}")).rule("password-file")
                })?;
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

impl From<BadNodeArgs> for Failure {
    fn from(why: BadNodeArgs) -> Self {
        Self::usage(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        node: NodeArgs,
    }

    #[test]
    fn the_usage_line_names_the_two_ways_in_and_one_of_them_is_needed() {
        let usage = Cli::command().render_usage().to_string();
        assert!(usage.contains("<--cookie <FILE>|--bitcoin-user <USER>>"), "{usage}");
        for (flags, good) in [
            (["x"].as_slice(), false),
            (&["x", "--cookie", "c"], true),
            (&["x", "--bitcoin-user", "u"], false),
            (&["x", "--bitcoin-user", "u", "--bitcoin-password-file", "p"], true),
            (&["x", "--cookie", "c", "--bitcoin-user", "u", "--bitcoin-password-file", "p"], false),
        ] {
            let read = Cli::try_parse_from(flags);
            assert_eq!(read.is_ok_and(|cli| cli.node.is_given()), good, "{flags:?}");
        }
    }
}
