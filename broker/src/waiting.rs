//! What waits in a broker's data directory, for whoever keeps what its messages refer to.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::archive::SESSIONS;
use crate::database::StoreError;
use crate::group::GROUPS;

/// The tables with messages, by file.
const TABLES: [(&str, &[&str]); 2] = [
    (GROUPS, &["entries", "dead", "backlog"]),
    (SESSIONS, &["mail", "retained"]),
];

/// How long the broker may keep a file to itself.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Shows the payload of each message that the broker of a data directory has on its disk: what waits in groups, is leased to
/// their members, was set aside, is kept for groups to come, waits in sessions, or is retained. The broker may be running. Blocks.
///
/// # Errors
/// [`StoreError`] if a file can't be read. Files that are not there have nothing.
pub fn stored_payloads(data_dir: &Path, mut see: impl FnMut(&[u8])) -> Result<(), StoreError> {
    for (file, tables) in TABLES {
        let path = data_dir.join(file);
        if !path.exists() {
            continue;
        }
        let failed = |source| StoreError::sqlite("read", &path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        // All tables as of one moment: a message that goes from one to another is in one of them.
        let moment = connection.transaction().map_err(failed)?;
        for table in tables {
            see_all(&moment, table, &mut see).map_err(failed)?;
        }
    }
    Ok(())
}

/// A file of an older broker may lack a table until that is started.
fn see_all(connection: &Connection, table: &str, see: &mut impl FnMut(&[u8])) -> rusqlite::Result<()> {
    let is_there = connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?")?
        .exists([table])?;
    if !is_there {
        return Ok(());
    }
    let mut rows = connection.prepare(&format!("SELECT payload FROM {table}"))?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        see(row.get_ref(0)?.as_bytes()?);
    }
    Ok(())
}
