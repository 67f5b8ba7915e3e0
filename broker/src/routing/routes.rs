//! Which sessions want what a filter matches.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::message::{Message, QoS, SessionId};
use crate::session::{Mailbox, Ordinary};
use crate::topic::TopicFilter;
use crate::topic_tree::FilterTree;

/// The number of a filter in this broker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct FilterId(usize);

/// What a subscription was made with.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionOptions {
    /// Highest QoS of deliveries.
    pub qos: QoS,
    /// Do not send the session its own messages.
    pub no_local: bool,
    /// Keep the RETAIN flag on forwarded messages.
    pub retain_as_published: bool,
    /// Subscription identifier.
    pub identifier: Option<u32>,
}

#[derive(Debug)]
struct Subscriber {
    mailbox: Arc<Mailbox>,
    options: SubscriptionOptions,
}

#[derive(Debug)]
struct Route {
    filter: TopicFilter,
    subscribers: BTreeMap<SessionId, Subscriber>,
}

/// All ordinary subscriptions.
#[derive(Debug, Default)]
pub struct Routes {
    ids: HashMap<TopicFilter, FilterId>,
    routes: HashMap<FilterId, Route>,
    tree: FilterTree<FilterId>,
    last: usize,
}

impl Routes {
    /// Whether a session has this subscription.
    pub fn has(&self, session: SessionId, filter: &TopicFilter) -> bool {
        let route = self.ids.get(filter).and_then(|id| self.routes.get(id));
        route.is_some_and(|route| route.subscribers.contains_key(&session))
    }

    /// Adds a subscription or replaces it.
    pub fn add(
        &mut self,
        session: SessionId,
        mailbox: &Arc<Mailbox>,
        filter: &TopicFilter,
        options: SubscriptionOptions,
    ) {
        let id = match self.ids.get(filter) {
            Some(id) => *id,
            None => {
                self.last += 1;
                let id = FilterId(self.last);
                self.ids.insert(filter.clone(), id);
                self.tree.insert(filter, id);
                id
            }
        };
        let route = self.routes.entry(id).or_insert_with(|| Route {
            filter: filter.clone(),
            subscribers: BTreeMap::new(),
        });
        let subscriber = Subscriber {
            mailbox: Arc::clone(mailbox),
            options,
        };
        route.subscribers.insert(session, subscriber);
    }

    /// Removes a subscription: the mailbox that its mail went to, or nothing if there was no such subscription.
    pub fn remove(&mut self, session: SessionId, filter: &TopicFilter) -> Option<Arc<Mailbox>> {
        let id = self.ids.get(filter).copied()?;
        let route = self.routes.get_mut(&id)?;
        let removed = route.subscribers.remove(&session);
        if route.subscribers.is_empty() {
            self.routes.remove(&id);
            self.ids.remove(filter);
            self.tree.remove(filter, &id);
        }
        removed.map(|subscriber| subscriber.mailbox)
    }

    /// The filters that a session is subscribed to.
    pub fn filters_of(&self, session: SessionId) -> Vec<TopicFilter> {
        let subscribed = self
            .routes
            .values()
            .filter(|route| route.subscribers.contains_key(&session));
        subscribed.map(|route| route.filter.clone()).collect()
    }

    /// Everything that a message brings about by these subscriptions.
    pub fn deliveries<'a>(
        &'a self,
        message: &'a Arc<Message>,
    ) -> impl Iterator<Item = (SessionId, &'a Arc<Mailbox>, Ordinary)> {
        let matching = self.tree.matching(&message.topic);
        matching
            .into_iter()
            .filter_map(|id| self.routes.get(&id))
            .flat_map(move |route| deliveries(route, message))
    }
}

fn deliveries<'a>(
    route: &'a Route,
    message: &'a Arc<Message>,
) -> impl Iterator<Item = (SessionId, &'a Arc<Mailbox>, Ordinary)> {
    let wanted = |(session, subscriber): &(&SessionId, &Subscriber)| {
        !(subscriber.options.no_local && **session == message.publisher)
    };
    route.subscribers.iter().filter(wanted).map(|(session, subscriber)| {
        let options = &subscriber.options;
        let mail = Ordinary {
            message: Arc::clone(message),
            qos: options.qos.min(message.qos),
            retain: message.retain && options.retain_as_published,
            subscription: options.identifier,
            kept: None,
        };
        (*session, &subscriber.mailbox, mail)
    })
}
