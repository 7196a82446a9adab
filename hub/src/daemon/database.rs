//! How our daemons open a database whose commits must survive a power failure.

use rusqlite::Connection;
use std::path::Path;

/// Opens or creates a file with these tables. A commit is on disk when it returns, and one cut short by a crash never was.
pub fn open(path: &Path, tables: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.execute_batch(tables)?;
    Ok(connection)
}
