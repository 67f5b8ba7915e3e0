//! Bots that were loaded by hand come back when the host starts: one file per bot below the state directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::supervisor::BotSpec;

/// Why a bot's file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The system refuses.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It doesn't hold a bot.
    #[error("cannot use {}: {source} (remove it, and load the bot again)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The files of the bots that were loaded by hand.
#[derive(Debug, Clone)]
pub struct LoadedBots {
    directory: PathBuf,
}

impl LoadedBots {
    /// Those of a state directory.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self {
            directory: state.join("bots"),
        }
    }

    /// Remember a bot under its name on this host.
    ///
    /// # Errors
    /// [`SpecError::Io`].
    pub fn remember(&self, name: &str, spec: &BotSpec) -> Result<(), SpecError> {
        let path = self.file(name);
        let failed = |source| SpecError::Io {
            what: "write",
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        let spec = BotSpec {
            name: Some(name.to_owned()),
            ..spec.clone()
        };
        let text = serde_json::to_vec_pretty(&spec).map_err(|error| failed(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(failed)?;
        file.write_all(&text)
            .and_then(|()| file.as_file().sync_all())
            .map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Forget a bot. One that isn't known is forgotten already.
    ///
    /// # Errors
    /// [`SpecError::Io`].
    pub fn forget(&self, name: &str) -> Result<(), SpecError> {
        let path = self.file(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(SpecError::Io {
                what: "remove",
                path,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// All bots by name, and what is wrong with the files that can't be used.
    #[must_use]
    pub fn all(&self) -> (Vec<(String, BotSpec)>, Vec<SpecError>) {
        let (mut bots, mut errors) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (bots, errors),
            Err(source) => {
                errors.push(SpecError::Io {
                    what: "list",
                    path: self.directory.clone(),
                    source,
                });
                return (bots, errors);
            }
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")) else {
                continue;
            };
            match read(&path) {
                Ok(spec) => bots.push((
                    name.to_owned(),
                    BotSpec {
                        name: Some(name.to_owned()),
                        ..spec
                    },
                )),
                Err(error) => errors.push(error),
            }
        }
        bots.sort_by(|(a, _), (b, _)| a.cmp(b));
        (bots, errors)
    }

    /// Where a bot is kept.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

fn read(path: &Path) -> Result<BotSpec, SpecError> {
    let text = std::fs::read(path).map_err(|source| SpecError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| SpecError::Damaged {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::BotSource;

    #[test]
    fn a_bot_is_remembered_until_it_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let bots = LoadedBots::of(state.path());
        assert!(bots.all().0.is_empty());
        let spec = BotSpec::new(BotSource::Stock("watchbot".into())).option("repository", "x");
        bots.remember("watch", &spec).unwrap();
        let (all, errors) = bots.all();
        assert!(errors.is_empty());
        assert_eq!(all, [("watch".to_owned(), spec.named("watch"))]);
        bots.forget("watch").unwrap();
        bots.forget("watch").unwrap();
        assert!(bots.all().0.is_empty());
    }

    #[test]
    fn a_damaged_file_is_named_and_hides_no_other() {
        let state = tempfile::tempdir().unwrap();
        let bots = LoadedBots::of(state.path());
        bots.remember("good", &BotSpec::new(BotSource::Stock("watchbot".into())))
            .unwrap();
        std::fs::write(state.path().join("bots/bad.json"), "{\"source\":").unwrap();
        let (all, errors) = bots.all();
        assert_eq!(all.len(), 1);
        assert!(errors[0].to_string().contains("bad.json"), "{}", errors[0]);
    }
}
