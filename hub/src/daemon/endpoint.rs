//! Where a process finds the hub, and where it listens itself (for the Bitcoin node see [`node`](super::node)).
//!
//! Each type is one table of a configuration file and is complete once read: no caller checks it again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointRefused {
    /// Not an address that we can talk to.
    #[error("`{key}` {NotHttp}")]
    Url {
        /// The key at fault.
        key: &'static str,
    },
    /// A door open to the network that nobody asked for.
    #[error("`address` {address} can be reached from other machines; to mean it, add allow_remote = true")]
    Remote {
        /// The address given.
        address: SocketAddr,
    },
}

/// An address that is not one of ours. It is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an http or https address with a host, and without user, password, query or fragment")]
pub struct NotHttp;

/// The table `[hub]`: where the hub's API is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    url: HubUrl,
}

impl HubConfig {
    /// The API's base address, which ends in `/`.
    pub fn url(&self) -> &Url {
        self.url.url()
    }

    /// Whether it names this very door.
    pub fn is(&self, door: SocketAddr) -> bool {
        self.url.is(door)
    }
}

/// The address of another hub's API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HubUrl(Url);

impl HubUrl {
    /// The API's base address, which ends in `/`.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it names this very door.
    pub fn is(&self, door: SocketAddr) -> bool {
        let host = self.0.host_str().map(|host| host.trim_matches(['[', ']']));
        let same_host = host.is_some_and(|host| {
            (host == "localhost" && door.ip().is_loopback()) || host.parse() == Ok(door.ip())
        });
        same_host && self.0.port_or_known_default() == Some(door.port())
    }
}

impl TryFrom<String> for HubUrl {
    type Error = NotHttp;

    fn try_from(text: String) -> Result<Self, NotHttp> {
        http_url(&text).map(Self)
    }
}

/// An address of an HTTP server, from a flag or a configuration: without secrets in it, and ending in `/`, so that
/// [`Url::join`] of a relative path stays below it.
pub fn http_url(text: &str) -> Result<Url, NotHttp> {
    let mut url = Url::parse(text).map_err(|_| NotHttp)?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.has_host()
        && matches!(url.scheme(), "http" | "https");
    if !plain {
        return Err(NotHttp);
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The table `[listen]`: where our own HTTP door is. Only this machine can reach it unless `allow_remote = true`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawListen")]
pub struct ListenAddr {
    address: SocketAddr,
    address_file: Option<PathBuf>,
}

impl ListenAddr {
    /// A free port on the loopback interface.
    pub fn any_loopback_port() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), address_file: None }
    }

    /// The address to bind; port 0 means any free one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file into which the bound address is written, if one is wanted.
    pub fn address_file(&self) -> Option<&Path> {
        self.address_file.as_deref()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListen {
    address: SocketAddr,
    #[serde(default)]
    allow_remote: bool,
    address_file: Option<PathBuf>,
}

impl TryFrom<RawListen> for ListenAddr {
    type Error = EndpointRefused;

    fn try_from(raw: RawListen) -> Result<Self, EndpointRefused> {
        if !raw.address.ip().to_canonical().is_loopback() && !raw.allow_remote {
            return Err(EndpointRefused::Remote { address: raw.address });
        }
        Ok(Self { address: raw.address, address_file: raw.address_file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(table: &str) -> Result<T, String> {
        toml::from_str(table).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn an_address_is_plain_http_and_carries_no_secret() {
        for (url, base) in [
            ("http://127.0.0.1:18443", Some("http://127.0.0.1:18443/")),
            ("https://hub.example/palisade", Some("https://hub.example/palisade/")),
            ("http://[::1]:1/", Some("http://[::1]:1/")),
            ("http://user:pass@127.0.0.1", None),
            ("http://user@127.0.0.1", None),
            ("http://127.0.0.1/?a=b", None),
            ("http://127.0.0.1/#a", None),
            ("ftp://127.0.0.1", None),
            ("file:///etc/passwd", None),
            ("127.0.0.1:18443", None),
            ("", None),
        ] {
            let config = read::<HubConfig>(&format!("url = '{url}'"));
            assert_eq!(config.as_ref().ok().map(|c| c.url().as_str()), base, "{url}");
        }
    }

    #[test]
    fn a_refused_address_is_not_repeated_because_it_may_hold_a_password() {
        let message = read::<HubConfig>("url = 'http://user:hunter2@127.0.0.1'").unwrap_err();
        assert!(message.contains("must be an http") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn a_hub_knows_its_own_door() {
        let door = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (url, address, own) in [
            ("http://127.0.0.1:8200", "127.0.0.1:8200", true),
            ("http://localhost:8200/", "127.0.0.1:8200", true),
            ("http://[::1]:8200/", "[::1]:8200", true),
            ("http://127.0.0.1", "127.0.0.1:80", true),
            ("http://127.0.0.1:8201", "127.0.0.1:8200", false),
            ("http://127.0.0.2:8200", "127.0.0.1:8200", false),
            ("http://localhost:8200", "192.168.0.1:8200", false),
            ("http://hub.example:8200", "127.0.0.1:8200", false),
        ] {
            assert_eq!(HubUrl::try_from(url.to_owned()).unwrap().is(door(address)), own, "{url}");
        }
    }

    #[test]
    fn only_loopback_is_listened_on_unless_told() {
        for (address, loopback) in [
            ("127.0.0.1:0", true),
            ("127.8.8.8:80", true),
            ("[::1]:0", true),
            ("[::ffff:127.0.0.1]:0", true),
            ("0.0.0.0:0", false),
            ("[::]:0", false),
            ("192.168.0.1:80", false),
            ("[::ffff:10.0.0.1]:0", false),
        ] {
            let plain = read::<ListenAddr>(&format!("address = '{address}'"));
            assert_eq!(plain.is_ok(), loopback, "{address}");
            let told = read::<ListenAddr>(&format!("address = '{address}'\nallow_remote = true"));
            assert_eq!(told.unwrap().address(), address.parse().unwrap());
        }
        assert!(read::<ListenAddr>("address = 'localhost'").is_err());
    }

    #[test]
    fn unknown_keys_are_refused_in_every_table() {
        assert!(
            read::<HubConfig>("url = 'http://h'\nurls = 1").unwrap_err().contains("unknown field `urls`")
        );
        assert!(
            read::<ListenAddr>("address = '127.0.0.1:0'\nallow = true")
                .unwrap_err()
                .contains("unknown field")
        );
    }
}
