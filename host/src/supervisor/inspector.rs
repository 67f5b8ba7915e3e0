//! What a bot is and would do, found out without a host.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::admission::is_bot_name;
use super::command_line::load_command;
use super::error::LoadFailure;
use super::options::{self, OptionError};
use super::rights::Rights;
use super::spec::{BotSource, BotSpec};
use crate::capability::Grants;
use crate::runtime::wit::types::Description;
use crate::runtime::{Answer, ComponentCache, ComponentInfo, Engine, LoadError};
use crate::stock;

/// Compiles components and asks them what they are.
#[derive(Clone)]
pub struct Inspector {
    engine: Engine,
    cache: Arc<ComponentCache>,
    /// What components said that they are, by digest.
    answers: Arc<Mutex<HashMap<String, Answer>>>,
}

/// Answers that are kept.
const MOST_ANSWERS: usize = 256;

/// How a bot's messages would flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Topics that it reads, without prefix.
    pub reads: Vec<String>,
    /// Topics that it publishes to, without prefix.
    pub publishes: Vec<String>,
}

impl Inspector {
    /// Keep compiled components in a directory that only this user can write.
    ///
    /// # Errors
    /// [`LoadError::Engine`] if this machine can't run WebAssembly.
    pub fn new(compiled: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let compiled = compiled.into();
        Ok(Self {
            engine: Engine::keeping(&compiled)?,
            cache: Arc::new(ComponentCache::new(compiled)),
            answers: Arc::default(),
        })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Read and compile a component, or take it from the cache, and ask it what it is.
    ///
    /// # Errors
    /// [`LoadFailure`] if it isn't a bot.
    pub async fn inspect(&self, source: &BotSource) -> Result<(ComponentInfo, Description), LoadFailure> {
        let (component, answer) = self.ask(source).await?;
        Ok((component, answer.description))
    }

    /// The same, with what the component printed or logged meanwhile. A component is asked once: what it answers follows
    /// from its digest.
    ///
    /// # Errors
    /// As [`Inspector::inspect`].
    pub async fn ask(&self, source: &BotSource) -> Result<(ComponentInfo, Answer), LoadFailure> {
        let component = self.component(source).await?;
        let answer = self.answer(&component).await?;
        Ok((component, answer))
    }

    /// What a component says that it is. This runs code of its.
    ///
    /// # Errors
    /// [`LoadFailure`] if it isn't a bot.
    pub(super) async fn answer(&self, component: &ComponentInfo) -> Result<Answer, LoadFailure> {
        let known = self.answers().get(&component.digest).cloned();
        if let Some(answer) = known {
            return Ok(answer);
        }
        let answer = component.describe(&self.engine).await?;
        let mut answers = self.answers();
        if answers.len() >= MOST_ANSWERS {
            answers.clear();
        }
        answers.insert(component.digest.clone(), answer.clone());
        drop(answers);
        Ok(answer)
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        // Nothing is half done where a thread could panic.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Check that a bot has a grant for all that it asks for.
    ///
    /// # Errors
    /// [`LoadFailure`] that names what is missing and what would grant it, or the option that is wrong.
    pub fn check_grants(
        &self,
        spec: &BotSpec,
        component: &ComponentInfo,
        description: &Description,
    ) -> Result<(), LoadFailure> {
        let name = spec.name.as_ref().unwrap_or(&description.name);
        if !is_bot_name(name) {
            return Err(LoadFailure::BadName(name.clone()));
        }
        let resolved = options::resolve(description, &spec.options).map_err(|error| LoadFailure::Options {
            name: name.clone(),
            error,
        })?;
        let rights = Rights::of(spec, name, component, description, &resolved)?;
        rights.require(name, description)?;
        component.admit(&self.engine, &rights.grants)?;
        Ok(())
    }

    /// The command that loads a bot with all that it lacks, where that is why it can't be loaded.
    pub async fn remedy(&self, spec: &BotSpec, failure: &LoadFailure) -> Option<String> {
        let LoadFailure::NotGranted { lacking, .. } = failure else {
            return None;
        };
        let (_, description) = self.inspect(&spec.source).await.ok()?;
        Some(load_command(spec, &description, &lacking.flags()))
    }

    /// Read and compile a component, or take it from the cache. None of its code runs.
    ///
    /// # Errors
    /// [`LoadFailure`] if it can't be read, or is no component.
    pub(super) async fn component(&self, source: &BotSource) -> Result<ComponentInfo, LoadFailure> {
        let Self { engine, cache, .. } = self.clone();
        let source = source.clone();
        let loaded = tokio::task::spawn_blocking(move || match &source {
            BotSource::Stock(name) => {
                let bot = stock::find(name).ok_or_else(|| {
                    let names: Vec<_> = stock::STOCK_BOTS.iter().map(|bot| bot.name).collect();
                    LoadFailure::NoSuchStockBot(name.clone(), names.join(", "))
                })?;
                Ok(cache.load(&engine, name, bot.component)?)
            }
            BotSource::File(path) => Ok(cache.load_file(&engine, path)?),
        });
        loaded.await.unwrap_or(Err(LoadFailure::Stopping))
    }
}

/// A bot's rights: what the operator grants, and for a stock bot what its options name.
pub(super) fn grants(
    spec: &BotSpec,
    component: &ComponentInfo,
    description: &Description,
    values: &BTreeMap<String, Vec<String>>,
) -> Grants {
    let mut grants = match spec.source {
        BotSource::Stock(_) => Grants::of_stock_bot(description, &component.interfaces(), values),
        BotSource::File(_) => Grants::default(),
    };
    grants.extend(spec.grants.clone());
    grants
}

/// Check a bot's options against its description, and say where its messages would come from and go to.
///
/// # Errors
/// The first [`OptionError`].
pub fn check_options(description: &Description, spec: &BotSpec) -> Result<Flow, OptionError> {
    let resolved = options::resolve(description, &spec.options)?;
    Ok(Flow {
        reads: resolved.inputs.into_iter().map(|(_, topic)| topic).collect(),
        publishes: resolved.outputs.into_values().collect(),
    })
}
