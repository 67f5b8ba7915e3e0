//! Python: an interpreter that has read the bot's modules, with its memory, is the component.
//!
//! componentize-py makes one, and takes seconds to start the interpreter anew. So it is asked once for a *base*: the
//! interpreter, the SDK, and all that the bot imports from elsewhere. Each build then lets the base read the bot's own
//! modules, which takes no longer than reading them. Where that doesn't work, componentize-py does all of it.

mod base;
mod modules;

use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::Job;
use super::error::{Attempt, BuildError};
use super::world;
use crate::runtime::{ComponentCache, Engine, Said, SnapshotError, snapshot_after_tick};

/// Build a Python bot.
pub(super) fn build(job: &Job<'_>) -> Result<Vec<Said>, BuildError> {
    let tool = job.find(&[".venv/bin"], "componentize-py").ok_or_else(|| {
        job.missing(
            "componentize-py",
            "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.0",
        )
    })?;
    let module = job
        .manifest
        .source
        .with_extension("")
        .to_string_lossy()
        .replace('/', ".");
    let wit = world::write(job.manifest, job.build)?;
    if let Some(kept) = job.tools.kept() {
        match from_base(job, &tool, &wit, &module, kept)? {
            Prepared::Done(said) => return Ok(said),
            Prepared::Unfit(why) => tracing::debug!(bot = job.manifest.name, why, "building without a base"),
        }
    }
    let paths = [job.project.to_owned(), job.project.join(&job.manifest.sdk)];
    componentize(job, &tool, &wit, &module, &paths, job.output)?;
    Ok(Vec::new())
}

/// What came of reading a bot into a base.
enum Prepared {
    /// The component is there; what the bot's modules said meanwhile.
    Done(Vec<Said>),
    /// The bot can't be built this way: the reason.
    Unfit(String),
}

fn from_base(job: &Job<'_>, tool: &Path, wit: &Path, module: &str, kept: &Path) -> Result<Prepared, BuildError> {
    let sdk = job.project.join(&job.manifest.sdk);
    if !base::is_possible(&sdk) {
        return Ok(Prepared::Unfit("the project's SDK knows no bases".to_owned()));
    }
    let modules = modules::collect(job.project, &[&sdk, job.build])?;
    let imports = modules::imported_from_elsewhere(module, &modules);
    let base = match base::find_or_make(job, tool, wit, &sdk, &imports, kept) {
        Ok(base) => base,
        // What stands in the way of the base stands in the way of the bot as well, or only the place is at fault.
        Err(error) => return Ok(Prepared::Unfit(error.to_string())),
    };
    let bytes = std::fs::read(&base).attempt("read", &base)?;
    let compiled = kept.join("compiled");
    let engine = Engine::keeping(&compiled).map_err(|error| job.failed(error))?;
    let (cache, order) = (ComponentCache::new(compiled), base::order(module, &modules));
    let prepared = in_own_runtime(snapshot_after_tick(
        &engine,
        &cache,
        "the Python interpreter",
        &bytes,
        &order,
    ))
    .attempt("start a thread in", job.project)?;
    match prepared {
        Ok((component, said)) => {
            std::fs::write(job.output, component).attempt("write", job.output)?;
            Ok(Prepared::Done(said))
        }
        Err(SnapshotError::Rejected(traceback)) => Err(BuildError::Code {
            bot: job.manifest.name.clone(),
            traceback,
        }),
        Err(error) => Ok(Prepared::Unfit(error.to_string())),
    }
}

/// Do asynchronous work to its end, also where the caller is asynchronous itself: what the bot's modules wait for needs
/// timers.
fn in_own_runtime<T: Send>(work: impl Future<Output = T> + Send) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().spawn_scoped(threads, move || runtime.block_on(work))?;
        thread.join().map_err(|_| std::io::Error::other("it panicked"))
    })
}

/// Let componentize-py make a component of a module.
fn componentize(
    job: &Job<'_>,
    tool: &Path,
    wit: &Path,
    module: &str,
    paths: &[PathBuf],
    output: &Path,
) -> Result<(), BuildError> {
    let mut command = Command::new(tool);
    command
        .arg("--wit-path")
        .arg(wit)
        .args(["--world", world::WORLD, "componentize", module])
        .args(paths.iter().flat_map(|path| [Path::new("--python-path"), path]))
        .arg("--output")
        .arg(output)
        // Where a module's bytecode is cached, the paths of this machine would end up in the component.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    job.run(&mut command).map(drop)
}
