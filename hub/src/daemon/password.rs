//! The password that opens a key file: from a private file, from the environment, or asked at the terminal.
//!
//! Never from the command line, where every user of the machine can read it.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::exit::Failure;
use super::private_file::{self, ReadRefused};
use super::secret::Secret;

/// Environment variable that holds a password.
pub const VARIABLE: &str = "PALISADE_PASSWORD";

/// A password of 1 to [`Password::MAX_BYTES`] bytes of UTF-8, used as it is, without normalisation.
#[derive(Debug)]
pub struct Password(Secret<String>);

/// A text that is no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Too long to be meant.
    #[error("has {found} bytes, more than {}", Password::MAX_BYTES)]
    TooLong {
        /// The bytes found.
        found: usize,
    },
}

impl Password {
    /// Longest password.
    pub const MAX_BYTES: usize = 1024;

    /// Takes a text as a password; a refused text is wiped.
    pub fn new(mut text: String) -> Result<Self, PasswordRefused> {
        let refused = match text.len() {
            0 => PasswordRefused::Empty,
            found if found > Self::MAX_BYTES => PasswordRefused::TooLong { found },
            _ => return Ok(Self(Secret::new(text))),
        };
        text.zeroize();
        Err(refused)
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// Where a password comes from. In a configuration: `{ file = "PATH" }`, `{ env = "NAME" }` or `"prompt"`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordSource {
    /// The first line of a file that nobody but its owner can open.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A question at the terminal.
    #[default]
    Prompt,
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file could not be used.
    #[error("password file {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        cause: ReadRefused,
    },
    /// The file's first line is not text.
    #[error("password file {}: the first line is not UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The variable is not set, or is not UTF-8.
    #[error("environment variable {name} is not set, or is not UTF-8")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// There is no terminal to ask at, or nothing was typed.
    #[error("cannot ask for the password: {cause}")]
    NoTerminal {
        /// What the system said.
        cause: io::Error,
    },
    /// The two passwords typed for a new key differ.
    #[error("the two passwords differ")]
    Mistyped,
    /// What was found is no password.
    #[error("the password from {origin} {cause}")]
    Refused {
        /// Where it came from.
        origin: String,
        /// What was wrong.
        cause: PasswordRefused,
    },
}

/// Where passwords come from, for whoever has none that is taken.
pub const HINT: &str = "a password comes from a file, 0600 (--password-file where the command has it, else `password_file` in the \
     configuration), or from the variable PALISADE_PASSWORD, or is typed at a terminal";

impl PasswordError {
    /// The same as a failure of a command, in the words `message`. Only what was typed can be typed better the next time;
    /// everything else is a wrong command line or configuration.
    pub fn explain(&self, message: impl Display) -> Failure {
        let (failure, rule) = match self {
            Self::File { .. } | Self::NotText { .. } => (Failure::usage(message), "password-file"),
            Self::NoVariable { .. } | Self::NoTerminal { .. } => (Failure::usage(message), "no-password"),
            Self::Refused { .. } => (Failure::usage(message), "bad-password"),
            Self::Mistyped => (Failure::failed(message), "passwords-differ"),
        };
        failure.rule(rule).hint(HINT)
    }
}

impl From<PasswordError> for Failure {
    fn from(why: PasswordError) -> Self {
        why.explain(&why)
    }
}

impl PasswordSource {
    /// The source that was asked for: a file before a variable, and the terminal if neither was named.
    pub fn choose(file: Option<PathBuf>, env: Option<String>) -> Self {
        match (file, env) {
            (Some(path), _) => Self::File(path),
            (None, Some(name)) => Self::Env(name),
            (None, None) => Self::Prompt,
        }
    }

    /// The usual order: the file that was named, the variable [`VARIABLE`] where it is set, the terminal.
    pub fn usual(file: Option<PathBuf>) -> Self {
        Self::choose(file, std::env::var_os(VARIABLE).map(|_| VARIABLE.to_owned()))
    }

    /// The password of an existing key. `question` is shown only at the terminal, for example `Password: `.
    pub fn read(&self, question: &str) -> Result<Password, PasswordError> {
        self.read_from(|name| std::env::var_os(name), || rpassword::prompt_password(question))
    }

    /// The password of a key about to be made: as [`read`](Self::read), but the terminal asks twice.
    pub fn read_new(&self, question: &str) -> Result<Password, PasswordError> {
        let first = self.read(question)?;
        if *self == Self::Prompt {
            let second = self.read("The same password again: ")?;
            require_same(&first, &second)?;
        }
        Ok(first)
    }

    fn read_from(
        &self,
        variable: impl FnOnce(&str) -> Option<OsString>,
        ask: impl FnOnce() -> io::Result<String>,
    ) -> Result<Password, PasswordError> {
        let (origin, text) = match self {
            Self::File(path) => (format!("file {}", path.display()), first_line(path)?),
            Self::Env(name) => {
                let value = variable(name).and_then(|value| value.into_string().ok());
                let value = value.ok_or_else(|| PasswordError::NoVariable { name: name.clone() })?;
                (format!("environment variable {name}"), value)
            }
            Self::Prompt => {
                ("the terminal".to_owned(), ask().map_err(|cause| PasswordError::NoTerminal { cause })?)
            }
        };
        Password::new(text).map_err(|cause| PasswordError::Refused { origin, cause })
    }
}

fn require_same(first: &Password, second: &Password) -> Result<(), PasswordError> {
    if first.expose() == second.expose() { Ok(()) } else { Err(PasswordError::Mistyped) }
}

/// The first line without its end. Spaces belong to the password.
fn first_line(path: &Path) -> Result<String, PasswordError> {
    // Room for a comment below the password, not for a file named by mistake.
    let bytes: Zeroizing<Vec<u8>> = private_file::read(path, 4 * Password::MAX_BYTES)
        .map_err(|cause| PasswordError::File { path: path.to_owned(), cause })?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| PasswordError::NotText { path: path.to_owned() })?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn no_terminal() -> io::Result<String> {
        Err(io::Error::other("no terminal"))
    }

    fn from_file(dir: &TempDir, content: &[u8]) -> Result<Password, PasswordError> {
        let path = dir.path().join("password");
        let _ = fs::remove_file(&path);
        private_file::create(&path, content).unwrap();
        PasswordSource::File(path).read_from(|_| None, no_terminal)
    }

    #[test]
    fn the_first_line_of_the_file_is_the_password() {
        let dir = TempDir::new().unwrap();
        for (content, password) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\nsecond", "hunter2"),
            (" two words \n", " two words "),
            ("påsse\n", "påsse"),
        ] {
            assert_eq!(from_file(&dir, content.as_bytes()).unwrap().expose(), password, "{content:?}");
        }
    }

    #[test]
    fn a_file_without_a_usable_first_line_is_refused() {
        let dir = TempDir::new().unwrap();
        let refused = |content: &[u8]| from_file(&dir, content).unwrap_err();
        assert!(matches!(refused(b""), PasswordError::Refused { cause: PasswordRefused::Empty, .. }));
        assert!(matches!(
            refused(b"\nhunter2"),
            PasswordError::Refused { cause: PasswordRefused::Empty, .. }
        ));
        assert!(matches!(refused(&[0xff, b'\n']), PasswordError::NotText { .. }));
        let long = PasswordRefused::TooLong { found: 1025 };
        assert!(matches!(refused(&[b'a'; 1025]), PasswordError::Refused { cause, .. } if cause == long));
        assert!(matches!(
            refused(&[b'a'; 4097]),
            PasswordError::File { cause: ReadRefused::TooLong { .. }, .. }
        ));
        assert_eq!(from_file(&dir, &[b'a'; 1024]).unwrap().expose().len(), 1024);
    }

    #[test]
    fn a_password_file_that_others_can_read_is_refused_and_named() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("open");
        fs::write(&path, "hunter2").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = PasswordSource::File(path.clone()).read("").unwrap_err().to_string();
        assert_eq!(
            error,
            format!("password file {}: is open to other users (mode 0644); it must be 0600", path.display())
        );
    }

    #[test]
    fn the_environment_is_asked_for_the_named_variable_only() {
        let source = PasswordSource::Env("PALISADE_PASSWORD".into());
        let lookup = |name: &str| (name == "PALISADE_PASSWORD").then(|| OsString::from("hunter2"));
        assert_eq!(source.read_from(lookup, no_terminal).unwrap().expose(), "hunter2");
        let unset = PasswordSource::Env("OTHER".into()).read_from(lookup, no_terminal);
        assert!(matches!(unset, Err(PasswordError::NoVariable { name }) if name == "OTHER"));
        let not_text = source.read_from(|_| Some(OsString::from_vec(vec![0xff])), no_terminal);
        assert!(matches!(not_text, Err(PasswordError::NoVariable { .. })));
        let empty = source.read_from(|_| Some(OsString::new()), no_terminal);
        assert!(matches!(empty, Err(PasswordError::Refused { cause: PasswordRefused::Empty, .. })));
    }

    #[test]
    fn the_terminal_is_asked_only_when_nothing_else_was_named() {
        let file = Some(PathBuf::from("/p"));
        let env = Some("NAME".to_owned());
        assert_eq!(PasswordSource::choose(file.clone(), env.clone()), PasswordSource::File("/p".into()));
        assert_eq!(PasswordSource::choose(None, env), PasswordSource::Env("NAME".into()));
        assert_eq!(PasswordSource::choose(None, None), PasswordSource::Prompt);
        let typed = PasswordSource::Prompt.read_from(|_| None, || Ok("hunter2".into())).unwrap();
        assert_eq!(typed.expose(), "hunter2");
        let nobody = PasswordSource::Prompt.read_from(|_| None, no_terminal);
        assert!(matches!(nobody, Err(PasswordError::NoTerminal { .. })));
    }

    #[test]
    fn a_new_password_must_be_typed_twice_the_same() {
        let password = |text: &str| Password::new(text.to_owned()).unwrap();
        assert!(require_same(&password("a"), &password("a")).is_ok());
        assert!(matches!(require_same(&password("a"), &password("b")), Err(PasswordError::Mistyped)));
    }

    #[test]
    fn a_configuration_names_exactly_one_source() {
        #[derive(Deserialize)]
        struct Config {
            password: PasswordSource,
        }
        let read = |value: &str| toml::from_str::<Config>(&format!("password = {value}")).map(|c| c.password);
        assert_eq!(read("{ file = '/p' }").unwrap(), PasswordSource::File("/p".into()));
        assert_eq!(read("{ env = 'NAME' }").unwrap(), PasswordSource::Env("NAME".into()));
        assert_eq!(read("'prompt'").unwrap(), PasswordSource::Prompt);
        for wrong in ["'hunter2'", "{ file = '/p', env = 'NAME' }", "{ argv = 1 }", "{}", "3"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_never_prints() {
        let password = Password::new("hunter2".into()).unwrap();
        assert!(!format!("{password:?}").contains("hunter2"));
    }
}
