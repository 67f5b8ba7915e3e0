//! From a component's bytes to something that can be instantiated: compilation, its cache, and admission.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, HasSelf, Linker, LinkerInstance, ResourceType, types::ComponentItem};

use super::bindings::BotPre;
use super::contract::ContractImport;
use super::describe::{Acts, Stranger};
use super::engine::{Engine, private_directory};
use super::error::{AdmissionError, LoadError};
use super::invocation::Invocation;
use super::wasi::wasi_offer;
use super::wit;
use crate::capability::{Grants, Interface, MissingGrant};

/// What every bot exports.
const EXPORTS: [&str; 4] = ["describe", "configure", "handle", "tick"];

/// What a compilation's file ends in.
const EXTENSION: &str = "cwasm";

/// Size of all compilations at which those that were not used for longest go.
pub(super) const MOST: u64 = 1024 * 1024 * 1024;

/// Compiled components in a directory of the host, keyed by the digest of the component and the engine's version:
/// compilation takes seconds for large guests, loading the result milliseconds.
pub struct ComponentCache {
    directory: PathBuf,
}

/// A compiled component and what is known of it.
#[derive(Clone)]
pub struct ComponentInfo {
    /// Name or path, for messages.
    pub name: String,
    /// SHA-256 of the bytes, lower-case hex.
    pub digest: String,
    /// Size in bytes.
    pub size: usize,
    /// Full names of the imports, sorted.
    pub imports: Vec<String>,
    /// Names of the exports, sorted.
    pub exports: Vec<String>,
    component: Component,
}

/// A component whose imports are all granted: ready for instances.
#[derive(Clone)]
pub struct Admitted {
    pub(super) pre: BotPre<Invocation>,
    /// SHA-256 of the component, in hex.
    pub(super) digest: Arc<str>,
}

impl ComponentCache {
    /// Use a directory that only the host can write, since what is in it is run as machine code.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Read and compile a component's file, or take its compilation from the cache. Blocks while it compiles.
    ///
    /// # Errors
    /// [`LoadError`] if the file can't be read or is neither a component nor a core module with its world.
    pub fn load_file(&self, engine: &Engine, path: &Path) -> Result<ComponentInfo, LoadError> {
        let bytes = std::fs::read(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        self.load(engine, &path.display().to_string(), &bytes)
    }

    /// Compile a component, or take its compilation from the cache. Blocks while it compiles.
    ///
    /// A core module that carries its world, as a compiler yields it, is made a component first. Digest and size are
    /// those of the bytes as they are given.
    ///
    /// # Errors
    /// [`LoadError::NotAComponent`] if the bytes are neither.
    pub fn load(&self, engine: &Engine, name: &str, bytes: &[u8]) -> Result<ComponentInfo, LoadError> {
        let digest = hex::encode(Sha256::digest(bytes));
        let cached = self
            .directory
            .join(format!("{digest}-{}.{EXTENSION}", compatibility(engine)));
        let component = match self.cached(engine, &cached) {
            Some(component) => component,
            None => {
                let not_a_component = |why: String| LoadError::NotAComponent {
                    name: name.to_owned(),
                    why,
                };
                let bytes =
                    foundry_componentize::component(bytes).map_err(|error| not_a_component(error.to_string()))?;
                let component = Component::from_binary(engine.raw(), &bytes)
                    .map_err(|error| not_a_component(format!("{error:#}")))?;
                engine.keep_functions();
                if let Err(error) = self.keep(&component, &cached) {
                    // The cache only saves time: a full disk must not keep a bot from loading.
                    tracing::warn!(path = %cached.display(), %error, "cannot cache the compiled component");
                }
                component
            }
        };
        let kind = component.component_type();
        let mut imports: Vec<_> = kind.imports(engine.raw()).map(|(name, _)| name.to_owned()).collect();
        let mut exports: Vec<_> = kind.exports(engine.raw()).map(|(name, _)| name.to_owned()).collect();
        imports.sort_unstable();
        exports.sort_unstable();
        Ok(ComponentInfo {
            name: name.to_owned(),
            digest,
            size: bytes.len(),
            imports,
            exports,
            component,
        })
    }

    #[expect(
        unsafe_code,
        reason = "wasmtime runs what it deserialises as machine code; see the comment inside"
    )]
    fn cached(&self, engine: &Engine, path: &Path) -> Option<Component> {
        if !path.exists() {
            return None;
        }
        // SAFETY: only this function's counterpart `keep` writes here, the directory is the host's own with mode 0700
        // (whoever can write to it can replace the host's ledger and keys as well), files appear by rename once they are on
        // the disk, and so are whole, after a power cut as well, and wasmtime itself refuses those of another version or configuration.
        match unsafe { Component::deserialize_file(engine.raw(), path) } {
            Ok(component) => {
                // Its time tells when it was last of use.
                let touched = std::fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
                if let Err(error) = touched {
                    tracing::debug!(path = %path.display(), %error, "cannot note a use");
                }
                Some(component)
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "compiling again");
                None
            }
        }
    }

    fn keep(&self, component: &Component, path: &Path) -> std::io::Result<()> {
        private_directory(&self.directory)?;
        let bytes = component.serialize().map_err(std::io::Error::other)?;
        let mut temporary = tempfile::NamedTempFile::new_in(&self.directory)?;
        temporary.write_all(&bytes)?;
        // Else a power cut could leave the name and not the bytes, and zeros would run as machine code.
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|e| e.error)?;
        self.make_room(MOST)
    }

    /// Remove the compilations that were not used for longest, but for the newest one. Running bots keep theirs: a mapped
    /// file outlives its name.
    fn make_room(&self, most: u64) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if Path::new(&entry.file_name()).extension() == Some(EXTENSION.as_ref()) {
                let meta = entry.metadata()?;
                files.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut size = 0;
        for (at, (_, length, path)) in files.into_iter().enumerate() {
            size += length;
            if at > 0 && size > most {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A short name for everything in the engine that compiled code depends on.
fn compatibility(engine: &Engine) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    engine.raw().precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl ComponentInfo {
    /// The interfaces of the contract that the component imports.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Interface> {
        let imports = self.imports.iter().filter_map(|import| ContractImport::parse(import));
        imports.filter_map(|import| import.interface()).collect()
    }

    /// The version of the contract that the component was built for; none if it imports nothing of the contract.
    #[must_use]
    pub fn contract(&self) -> Option<&str> {
        let mut imports = self.imports.iter().filter_map(|import| ContractImport::parse(import));
        imports.next().map(|import| import.version)
    }

    /// What it imports and is not granted, in the order of its imports.
    #[must_use]
    pub fn lacks(&self, grants: &Grants) -> Vec<MissingGrant> {
        let interface = |import: &String| ContractImport::parse(import)?.interface();
        let imports = self
            .imports
            .iter()
            .filter_map(|import| Some((import, interface(import)?)));
        imports
            .filter(|(_, interface)| !grants.allow(*interface))
            .map(|(import, interface)| MissingGrant::Import {
                import: import.clone(),
                interface,
            })
            .collect()
    }

    /// Check that this is a bot and that all it imports is granted, and link just that.
    ///
    /// # Errors
    /// [`AdmissionError`], which names the import and the option that would grant it.
    pub fn admit(&self, engine: &Engine, grants: &Grants) -> Result<Admitted, AdmissionError> {
        self.check_world(engine)?;
        let mut wasi = false;
        let mut granted = Vec::new();
        for import in &self.imports {
            let of_contract = ContractImport::parse(import);
            match of_contract.and_then(|import| import.interface()) {
                Some(interface) if grants.allow(interface) => granted.push(interface),
                Some(interface) => {
                    return Err(AdmissionError::NotGranted {
                        name: self.name.clone(),
                        import: import.clone(),
                        flag: interface.flag(),
                    });
                }
                None if of_contract.is_some_and(|import| import.interface == "types") => {}
                None if wasi_offer(import).is_some() => wasi = true,
                None => {
                    return Err(AdmissionError::Unknown {
                        name: self.name.clone(),
                        import: import.clone(),
                    });
                }
            }
        }
        let mut linker = Linker::new(engine.raw());
        let linked = if wasi {
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        } else {
            Ok(())
        };
        linked
            .and_then(|()| granted.iter().try_for_each(|interface| interface.link(&mut linker)))
            .and_then(|()| linker.instantiate_pre(&self.component))
            .and_then(BotPre::new)
            .map(|pre| Admitted {
                pre,
                digest: self.digest.as_str().into(),
            })
            .map_err(|e| self.mismatch(&e))
    }

    /// Link what a component needs to say what it is, before anything is granted: WASI and its log. A call of anything else
    /// fails with [`Acts`].
    ///
    /// # Errors
    /// [`AdmissionError`] if this is no bot.
    pub(super) fn admit_to_describe(&self, engine: &Engine) -> Result<BotPre<Stranger>, AdmissionError> {
        self.check_world(engine)?;
        let mut linker = Linker::new(engine.raw());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| wit::log::add_to_linker::<_, HasSelf<Stranger>>(&mut linker, |stranger| stranger))
            .and_then(|()| self.refuse_the_rest(engine, &mut linker))
            .and_then(|()| linker.instantiate_pre(&self.component))
            .and_then(BotPre::new)
            .map_err(|e| self.mismatch(&e))
    }

    fn refuse_the_rest(&self, engine: &Engine, linker: &mut Linker<Stranger>) -> wasmtime::Result<()> {
        let kind = self.component.component_type();
        for (import, item) in kind.imports(engine.raw()) {
            let is_log = ContractImport::parse(import).and_then(|import| import.interface()) == Some(Interface::Log);
            match item.ty {
                _ if is_log || wasi_offer(import).is_some() => {}
                ComponentItem::ComponentInstance(instance) => {
                    let mut refusing = linker.instance(import)?;
                    for (name, item) in instance.exports(engine.raw()) {
                        refuse(&mut refusing, name, item.ty, &format!("{import}#{name}"))?;
                    }
                }
                other => refuse(&mut linker.root(), import, other, import)?,
            }
        }
        Ok(())
    }

    fn check_world(&self, engine: &Engine) -> Result<(), AdmissionError> {
        let mut imports = self.imports.iter().filter_map(|import| ContractImport::parse(import));
        if let Some(other) = imports.find(|import| !import.is_offered()) {
            return Err(AdmissionError::OtherVersion {
                name: self.name.clone(),
                version: other.version.to_owned(),
            });
        }
        let kind = self.component.component_type();
        for export in EXPORTS {
            match kind.get_export(engine.raw(), export).map(|e| e.ty) {
                Some(ComponentItem::ComponentFunc(_)) => {}
                _ => {
                    return Err(AdmissionError::OtherWorld {
                        name: self.name.clone(),
                        export,
                    });
                }
            }
        }
        Ok(())
    }

    fn mismatch(&self, error: &wasmtime::Error) -> AdmissionError {
        AdmissionError::Mismatch {
            name: self.name.clone(),
            why: format!("{error:#}"),
        }
    }
}

/// Link a function to a refusal that names it.
fn refuse(
    linker: &mut LinkerInstance<'_, Stranger>,
    name: &str,
    item: ComponentItem,
    full: &str,
) -> wasmtime::Result<()> {
    match item {
        ComponentItem::ComponentFunc(_) => {
            let full = full.to_owned();
            linker.func_new(name, move |_, _, _, _| Err(Acts(full.clone()).into()))
        }
        ComponentItem::Resource(_) => linker.resource(name, ResourceType::host::<()>(), |_, _| Ok(())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn compilations_that_were_not_used_for_longest_make_room() {
        let directory = tempfile::tempdir().unwrap();
        for (age, name) in ["new.cwasm", "recent.cwasm", "old.cwasm", "functions.sqlite"]
            .iter()
            .enumerate()
        {
            let file = std::fs::File::create(directory.path().join(name)).unwrap();
            file.set_len(1000).unwrap();
            let age = Duration::from_secs(60 * age as u64);
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        let left = || {
            let mut names: Vec<_> = std::fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let cache = ComponentCache::new(directory.path());
        cache.make_room(2500).unwrap();
        assert_eq!(left(), ["functions.sqlite", "new.cwasm", "recent.cwasm"]);
        cache.make_room(0).unwrap();
        assert_eq!(left(), ["functions.sqlite", "new.cwasm"]);
    }
}
