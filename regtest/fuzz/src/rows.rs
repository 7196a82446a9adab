//! Databases of ours with a row that somebody else wrote: SQLite's own checks are off, as they are for whoever writes the file.
//!
//! An input is a column, a line break, the letter of a type and a value.

use crate::{Outcome, scratch};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::path::Path;

/// The columns of a database with a value of each, as it stands in the first row.
pub(crate) fn corpus(database: &[u8]) -> Vec<Vec<u8>> {
    let path = scratch::file("corpus.sqlite", database);
    let connection = Connection::open(&path).expect("a database");
    let mut inputs = Vec::new();
    for (table, column) in columns(&connection) {
        let sql = format!("SELECT \"{column}\" FROM \"{table}\" WHERE \"{column}\" IS NOT NULL LIMIT 1");
        let Ok(value) = connection.query_row(&sql, [], |row| row.get::<_, Value>(0)) else { continue };
        let value = match value {
            Value::Null | Value::Real(_) => continue,
            Value::Integer(number) => [b"i", number.to_string().as_bytes()].concat(),
            Value::Text(text) => [b"t", text.as_bytes()].concat(),
            Value::Blob(bytes) => [b"b", &bytes[..]].concat(),
        };
        inputs.push([format!("{table}.{column}\n").as_bytes(), &value].concat());
    }
    inputs
}

fn columns(connection: &Connection) -> Vec<(String, String)> {
    let sql = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c \
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY 1, 2";
    let mut statement = connection.prepare(sql).expect("a schema");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("a schema");
    rows.collect::<Result<_, _>>().expect("names")
}

/// Puts the value into the column of the database, and has the file read.
pub(crate) fn altered(database: &[u8], input: &[u8], read: impl FnOnce(&Path) -> bool) -> Outcome {
    let path = scratch::file("rows.sqlite", database);
    for left in ["rows.sqlite-wal", "rows.sqlite-shm", "rows.sqlite-journal"] {
        let _ = std::fs::remove_file(path.with_file_name(left));
    }
    match alter(&path, input) {
        Some(()) => read(&path).into(),
        None => Outcome::Refused,
    }
}

fn alter(path: &Path, input: &[u8]) -> Option<()> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let (name, kind, value) =
        (std::str::from_utf8(&input[..end]).ok()?, input.get(end + 1)?, &input[end + 2..]);
    let text = || std::str::from_utf8(value).ok();
    let value = match kind {
        b'n' => Value::Null,
        b'i' => Value::Integer(text()?.parse().ok()?),
        b't' => Value::Text(text()?.to_owned()),
        b'b' => Value::Blob(value.to_vec()),
        _ => return None,
    };
    let connection = Connection::open(path).ok()?;
    let named = |own: &(String, String)| name.split_once('.') == Some((own.0.as_str(), own.1.as_str()));
    let (table, column) = columns(&connection).into_iter().find(named)?;
    connection.execute_batch("PRAGMA ignore_check_constraints = 1; PRAGMA foreign_keys = 0;").ok()?;
    let triggers = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .ok()?
        .query_map([], |row| row.get::<_, String>(0))
        .ok()?
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    triggers
        .iter()
        .try_for_each(|name| connection.execute_batch(&format!("DROP TRIGGER \"{name}\"")))
        .ok()?;
    let sql = format!(
        "UPDATE OR IGNORE \"{table}\" SET \"{column}\" = ?1 WHERE \"{column}\" IS (SELECT \"{column}\" FROM \"{table}\" \
         WHERE \"{column}\" IS NOT NULL LIMIT 1)"
    );
    connection.execute(&sql, [value]).ok().map(drop)
}
