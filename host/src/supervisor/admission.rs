//! From what the operator asks for to a bot that is ready to start.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bot::Prepared;
use super::error::LoadFailure;
use super::host::Inner;
use super::message::{Handler, Health};
use super::options::{self, Resolved};
use super::refusals::Refusals;
use super::rights::{self, Rights, limits};
use super::signature;
use super::spec::{BotSpec, BotStatus, Condition, InForce};
use super::turns::Turns;
use super::twins::Twins;
use crate::bus::{ConnectionOptions, OldSession, client_id_of_bot};
use crate::capability::build::{IdsFault, User, ids_fault};
use crate::capability::topic_grants::Routes;
use crate::keys::Fingerprint;
use crate::runtime::wit::types::Description;
use crate::runtime::{Answer, BotContext, Instances, Limits};

/// Bytes of state that a bot may keep.
pub(super) const STATE_LIMIT: u64 = 16 * 1024 * 1024;

/// Limits of `configure`, which does no work.
pub(super) const ASKING: Limits = Limits {
    memory: 256 * 1024 * 1024,
    guest_time: Duration::from_secs(5),
    wall_time: Duration::from_secs(30),
};

impl Inner {
    /// Do everything that can fail before a bot starts.
    pub(super) async fn prepare(self: &Arc<Self>, spec: &BotSpec, name: &str) -> Result<Prepared, LoadFailure> {
        // The pinned digest and the signature come before any code of the component runs.
        let component = self.inspector.component(&spec.source).await?;
        let digest = format!("sha256:{}", component.digest);
        if let Some(pinned) = spec.digest.as_ref().filter(|pinned| **pinned != digest) {
            return Err(LoadFailure::Digest {
                name: name.to_owned(),
                pinned: pinned.clone(),
                found: digest,
            });
        }
        let signer = self.signer(spec, name, &component.digest).await?;
        let Answer { description, said } = self.inspector.answer(&component).await?;
        let resolved = options::resolve(&description, &spec.options).map_err(|error| LoadFailure::Options {
            name: name.to_owned(),
            error,
        })?;
        let rights = Rights::of(spec, name, &component, &description, &resolved)?;
        rights.require(name, &description)?;
        let Rights { grants, routes, .. } = rights;
        let lacking = lacking_ids(grants.build).await;
        self.services.note_signer(spec.source.stock(), &grants.sign);
        let admitted = component.admit(self.inspector.engine(), &grants)?;
        let bot = Arc::new(BotContext {
            name: name.to_owned(),
            source: format!("{}/{name}", self.link.host),
            stock: spec.source.stock().map(ToOwned::to_owned),
            groups: routes.groups(),
            options: resolved.values.clone(),
            outlets: routes.outlets.clone(),
            grants,
            state_limit: STATE_LIMIT,
            services: Arc::clone(&self.services),
        });
        bot.keep(&said);
        let asking = Instances::new(
            self.inspector.engine().clone(),
            admitted.clone(),
            Arc::clone(&bot),
            ASKING,
        );
        configure(&asking, name).await?;
        let instances = Instances::new(
            self.inspector.engine().clone(),
            admitted,
            bot,
            limits(spec, &description, self.longest_message),
        );
        let mut prepared = self.assemble(
            name,
            spec,
            (digest, signer),
            &description,
            (resolved, routes),
            instances,
        );
        prepared.old_session = self.old_session(name, &prepared.filters).await;
        prepared.status.notes.extend(self.notes_on_keys(prepared.party()).await);
        let notes = &mut prepared.status.notes;
        notes.extend(lacking.map(|fault| format!("it can't build: {fault}")));
        Ok(prepared)
    }

    /// What an older version of the host may have left of a bot, until nothing was found of it once.
    async fn old_session(&self, name: &str, filters: &[String]) -> Option<OldSession> {
        // One that can't be known to be gone is looked for.
        let may_be = self.has_old_sessions && !self.link.ledger.has_old_session_ended(name).await.unwrap_or(false);
        may_be.then(|| OldSession::of(&self.link.host, name, &self.connection, filters))
    }

    /// Who signed the component, which the operator may insist on.
    async fn signer(&self, spec: &BotSpec, name: &str, digest: &str) -> Result<Option<Fingerprint>, LoadFailure> {
        let services = Arc::clone(&self.services);
        let (source, digest) = (spec.source.clone(), digest.to_owned());
        let required = spec.signed || self.require_signed_bots;
        let checked =
            tokio::task::spawn_blocking(move || signature::check(&services.keys, &source, &digest, required)).await;
        match checked {
            Ok(signer) => signer.map_err(|error| LoadFailure::Signature {
                name: name.to_owned(),
                error,
            }),
            Err(_) => Err(LoadFailure::Stopping),
        }
    }

    fn assemble(
        &self,
        name: &str,
        spec: &BotSpec,
        (digest, signer): (String, Option<Fingerprint>),
        description: &Description,
        (resolved, routes): (Resolved, Routes),
        instances: Instances,
    ) -> Prepared {
        let topics = &self.link.topics;
        let notes = rights::notes(spec, description, &routes, &instances.limits());
        let status = BotStatus {
            name: name.to_owned(),
            component: description.name.clone(),
            version: description.version.clone(),
            condition: Condition::Starting,
            detail: None,
            group: routes.inputs.first().map(|(group, _)| group.clone()),
            reads: routes.inputs.iter().map(|(_, topic)| topic.clone()).collect(),
            publishes: routes.outlets.topics().map(ToOwned::to_owned).collect(),
            handled: 0,
            failed: 0,
            in_hand: 0,
            notes,
            since: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        };
        let in_force = InForce {
            bot: name.to_owned(),
            source: spec.source.clone(),
            digest,
            signer: signer.map(|fingerprint| fingerprint.to_string()),
            group: status.group.clone(),
            reads: status.reads.clone(),
            publishes: status.publishes.clone(),
            grants: instances.bot().grants.clone(),
            memory: instances.limits().memory,
            timeout: instances.limits().wall_time,
            state: STATE_LIMIT,
            instances: spec.instances.max(1),
        };
        let builds = instances.bot().grants.build;
        let handler = Handler {
            instances,
            stage: rights::bearer(spec, name, description)
                .stage(&description.name)
                .to_owned(),
            link: Arc::clone(&self.link),
            health: Arc::new(Health::default()),
            ability: self.link.ability.of_bot(name, builds),
            refusals: Refusals::default(),
            turns: Turns::default(),
            twins: Twins::default(),
        };
        let filters: Vec<_> = routes
            .inputs
            .iter()
            .map(|(group, topic)| topics.shared(group, topic))
            .collect();
        Prepared {
            handler: Arc::new(handler),
            status,
            in_force,
            instances: spec.instances.max(1),
            old_session: None,
            filters,
            timers: resolved.timers,
            connection: ConnectionOptions {
                client_id: client_id_of_bot(&self.link.host, name),
                ..self.connection.clone()
            },
            publisher: self.publisher.clone(),
            observer: self.observer.clone(),
        }
    }
}

/// Let a bot check its options.
pub(super) async fn configure(asking: &Instances, name: &str) -> Result<(), LoadFailure> {
    let name = name.to_owned();
    match asking.configure().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(LoadFailure::Refused { name, why }),
        Err(fault) => Err(LoadFailure::Fault {
            name,
            call: "configure",
            fault,
        }),
    }
}

/// Whether a bot or a host may be called so: names become parts of topics, file names and client ids.
#[must_use]
pub fn is_bot_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// What keeps builds from having ids of their own, if a bot may build.
async fn lacking_ids(builds: bool) -> Option<IdsFault> {
    if !builds {
        return None;
    }
    // It starts programs.
    let asked = tokio::task::spawn_blocking(|| ids_fault(User::own()));
    asked.await.ok().flatten()
}
