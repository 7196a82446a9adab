//! Filling a commented default configuration in: every comment stays, and a key that is commented out comes in force.
//!
//! Keys are named as in refusals, with dots between tables. A key that the default does not have is an error, so a default
//! that changes cannot leave a value behind.

use std::fmt::Display;
use std::path::Path;
use toml::Value;

/// The default has no such key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the default configuration has no key `{0}`")]
pub struct NoSuchKey(String);

/// A default configuration on its way to be somebody's.
#[derive(Debug, Clone)]
pub struct Template {
    lines: Vec<String>,
}

impl Template {
    /// Begins with a default.
    pub fn new(default: &str) -> Self {
        Self { lines: default.lines().map(str::to_owned).collect() }
    }

    /// Sets a key to a text.
    pub fn text(self, key: &str, value: impl Display) -> Result<Self, NoSuchKey> {
        let (_, name) = split(key);
        self.replace(key, &[(name, Value::String(value.to_string()))])
    }

    /// Sets a key to a path.
    pub fn path(self, key: &str, path: impl AsRef<Path>) -> Result<Self, NoSuchKey> {
        self.text(key, path.as_ref().display())
    }

    /// Sets a key to a path, made absolute, if there is one.
    pub fn file(self, key: &str, path: Option<&Path>) -> Result<Self, NoSuchKey> {
        // What cannot be made absolute is shown as it is, and refused when it is read.
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        path.map_or(Ok(self.clone()), |path| self.path(key, absolute(path)))
    }

    /// Puts other keys in the place of one.
    pub fn replace(mut self, key: &str, with: &[(&str, Value)]) -> Result<Self, NoSuchKey> {
        let (line, header) = self.find(key).ok_or_else(|| NoSuchKey(key.to_owned()))?;
        if let Some(header) = header.and_then(|header| self.lines.get_mut(header)) {
            *header = live(header).to_owned();
        }
        let with = with.iter().map(|(name, value)| format!("{name} = {value}"));
        self.lines.splice(line..=line, with);
        Ok(self)
    }

    /// The configuration.
    pub fn finish(self) -> String {
        self.lines.join("\n") + "\n"
    }

    /// The lines of a key and of its table.
    fn find(&self, key: &str) -> Option<(usize, Option<usize>)> {
        let (wanted, name) = split(key);
        let (mut table, mut header) = ("", None);
        for (place, line) in self.lines.iter().enumerate() {
            let line = live(line);
            if let Some(inner) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                (table, header) = (inner, Some(place));
            } else if table == wanted && line.split_once(" = ").is_some_and(|(found, _)| found == name) {
                return Some((place, header));
            }
        }
        None
    }
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// A line without the mark that puts it out of force.
fn live(line: &str) -> &str {
    line.strip_prefix("# ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "\
# A sentence about name = \"x\".
name = \"somebody\"
# file = \"f\"

[door]
# Where.
name = \"front\"

# [bell]
# name = \"loud\"
# tone = 440
";

    fn filled(fill: impl FnOnce(Template) -> Result<Template, NoSuchKey>) -> String {
        fill(Template::new(DEFAULT)).unwrap().finish()
    }

    #[test]
    fn nothing_changes_unless_it_is_set() {
        assert_eq!(filled(Ok), DEFAULT);
        assert_eq!(filled(|own| own.file("file", None)), DEFAULT);
    }

    #[test]
    fn a_key_is_set_in_its_own_table_only_and_quoted() {
        let wanted = DEFAULT.replace("\"front\"", r#"'a "b" \c'"#);
        assert_eq!(filled(|own| own.text("door.name", r#"a "b" \c"#)), wanted);
        let wanted = DEFAULT.replace("\"somebody\"", "\"me\"");
        assert_eq!(filled(|own| own.text("name", "me")), wanted);
    }

    #[test]
    fn a_key_and_a_table_that_are_commented_out_come_in_force() {
        let wanted = DEFAULT.replace("# file = \"f\"", "file = \"/a/b\"");
        assert_eq!(filled(|own| own.file("file", Some(Path::new("/a/b")))), wanted);
        let wanted = DEFAULT.replace("# [bell]\n# name = \"loud\"", "[bell]\nname = \"soft\"");
        assert_eq!(filled(|own| own.text("bell.name", "soft")), wanted);
    }

    #[test]
    fn one_key_can_give_way_to_several() {
        let two = [("user", Value::String("me".into())), ("port", Value::Integer(1))];
        let wanted = DEFAULT.replace("name = \"front\"", "user = \"me\"\nport = 1");
        assert_eq!(filled(|own| own.replace("door.name", &two)), wanted);
    }

    #[test]
    fn a_key_that_the_default_does_not_have_is_an_error() {
        for key in ["nmae", "door.file", "bell", "window.name"] {
            let why = Template::new(DEFAULT).text(key, "x").unwrap_err();
            assert_eq!(why.to_string(), format!("the default configuration has no key `{key}`"));
        }
    }
}
