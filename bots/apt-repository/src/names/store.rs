//! Where the records of names are: `.foundry/names/SHARD.json`, by the beginning of the name as the pool's directories are. So
//! a publication reads and writes little, and an archive of all of Debian has some dozens of files.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Names, Provided, recorded_name};
use crate::failure::Failure;
use crate::host::Transaction;
use crate::pool;

/// Their directory.
pub const DIRECTORY: &str = ".foundry/names";

/// The format that is written. A later one is not touched.
const FORMAT: u32 = 1;

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Shard {
    format: u32,
    #[serde(default)]
    sources: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    binaries: BTreeMap<String, Provided>,
}

/// Records of an archive, as far as they were read.
#[derive(Debug, Default)]
pub struct Records {
    /// What they say. Changes are written by [`Records::write`].
    pub names: Names,
    before: Names,
    shards: BTreeSet<String>,
}

impl Records {
    /// Read all records.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_all(transaction: &dyn Transaction) -> Result<Self, Failure> {
        let mut records = Self::default();
        for path in transaction.list(DIRECTORY)? {
            let shard = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
            if let Some(shard) = shard.strip_suffix(".json") {
                records.load(transaction, shard)?;
            }
        }
        Ok(records)
    }

    /// Read the records of some names, of source packages or binary packages, as well.
    ///
    /// # Errors
    /// [`Failure::Repository`] if a file is damaged: lost names would be anybody's. The host's.
    pub fn read<'a>(
        &mut self,
        transaction: &dyn Transaction,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        for name in names {
            self.load(transaction, pool::prefix(recorded_name(name)))?;
        }
        Ok(())
    }

    fn load(&mut self, transaction: &dyn Transaction, shard: &str) -> Result<(), Failure> {
        if !self.shards.insert(shard.to_owned()) {
            return Ok(());
        }
        let path = path(shard);
        let Some(json) = transaction.read(&path)? else {
            return Ok(());
        };
        let Shard { sources, binaries, .. } = parse(&path, &json)?;
        for names in [&mut self.names, &mut self.before] {
            names.sources.extend(sources.clone());
            names.binaries.extend(binaries.clone());
        }
        Ok(())
    }

    /// Write what has changed since the records were read. Returns whether anything has.
    ///
    /// # Errors
    /// The host's.
    pub fn write(&self, transaction: &dyn Transaction) -> Result<bool, Failure> {
        let (before, after) = (shards(&self.before), shards(&self.names));
        let changed = after.iter().filter(|(shard, names)| before.get(*shard) != Some(names));
        let emptied = before.keys().filter(|shard| !after.contains_key(*shard));
        let mut changes = false;
        for (shard, names) in changed {
            let json = serde_json::to_vec(names).map_err(|error| Failure::Later(error.to_string()))?;
            transaction.write(&path(shard), &json)?;
            changes = true;
        }
        for shard in emptied {
            transaction.remove(&path(shard))?;
            changes = true;
        }
        Ok(changes)
    }
}

fn path(shard: &str) -> String {
    format!("{DIRECTORY}/{shard}.json")
}

fn parse(path: &str, json: &[u8]) -> Result<Shard, Failure> {
    let damaged = |why: String| {
        Failure::Repository(format!(
            "cannot read {path}, the record of who provides which packages: {why} (put it back from a backup, or remove it: \
             its names are then those of whoever publishes them next)"
        ))
    };
    let shard: Shard = serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
    if shard.format == FORMAT {
        Ok(shard)
    } else {
        Err(damaged(format!(
            "its format is {}, and {FORMAT} is known",
            shard.format
        )))
    }
}

fn shards(names: &Names) -> BTreeMap<String, Shard> {
    let mut shards: BTreeMap<String, Shard> = BTreeMap::new();
    for (source, providers) in &names.sources {
        shard_of(&mut shards, source)
            .sources
            .insert(source.clone(), providers.clone());
    }
    for (binary, provided) in &names.binaries {
        shard_of(&mut shards, binary)
            .binaries
            .insert(binary.clone(), provided.clone());
    }
    shards
}

fn shard_of<'a>(shards: &'a mut BTreeMap<String, Shard>, name: &str) -> &'a mut Shard {
    let shard = shards.entry(pool::prefix(name).to_owned()).or_default();
    shard.format = FORMAT;
    shard
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first release that has such records wrote it.
    const FIRST: &str = r#"{"format":1,"sources":{"hello":["https://example.org/hello.git"]},"binaries":{"hello":{"sources":["hello"]},"hello-essential":{"sources":["hello"],"essential":true}}}"#;

    #[test]
    fn a_record_of_the_first_format_is_read_and_written_as_it_is() {
        let shard = parse("h.json", FIRST.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&shard).unwrap(), FIRST);
        assert!(shard.binaries["hello-essential"].essential);
    }

    #[test]
    fn a_name_that_came_by_leave_says_by_whose() {
        let text = r#"{"format":1,"sources":{},"binaries":{"hello":{"sources":["hello"],"by_leave":"/srv/evil.git"}}}"#;
        let shard = parse("h.json", text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&shard).unwrap(), text);
        assert_eq!(shard.binaries["hello"].by_leave.as_deref(), Some("/srv/evil.git"));
    }

    #[test]
    fn a_record_that_is_damaged_or_of_a_later_format_is_an_error() {
        for text in ["", "{}", "[]", r#"{"format":2}"#, &FIRST[1..]] {
            let error = parse(".foundry/names/h.json", text.as_bytes()).unwrap_err();
            assert!(
                error.to_string().starts_with("cannot read .foundry/names/h.json"),
                "{error}"
            );
        }
    }

    #[test]
    fn names_lie_where_the_pool_has_their_packages() {
        let mut names = Names::default();
        names.allow_source("hello", "https://example.org/hello.git");
        names.allow_binary("libhello1", "hello");
        names.allow_binary("libhello1-dbgsym", "hello");
        let shards = shards(&names);
        assert_eq!(Vec::from_iter(shards.keys()), ["h", "libh"]);
        assert_eq!(Vec::from_iter(shards["libh"].binaries.keys()), ["libhello1"]);
    }
}
