//! Which sessions want what a filter matches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::message::{Message, QoS, SessionId};
use crate::session::{Mailbox, Ordinary};
use crate::topic::TopicFilter;
use crate::topic_tree::FilterTree;

/// The number of a filter in this broker's life. rumqttd carries it as a subscription identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(pub usize);

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

/// What adding a subscription changed.
#[derive(Debug)]
pub struct Added {
    /// The filter had no subscriber before: the router must learn it.
    pub new_filter: Option<FilterId>,
    /// The session had this subscription before.
    pub replaced: bool,
}

impl Routes {
    /// Adds a subscription or replaces it.
    pub fn add(
        &mut self,
        session: SessionId,
        mailbox: &Arc<Mailbox>,
        filter: &TopicFilter,
        options: SubscriptionOptions,
    ) -> Added {
        let (id, new_filter) = match self.ids.get(filter) {
            Some(id) => (*id, None),
            None => {
                self.last += 1;
                let id = FilterId(self.last);
                self.ids.insert(filter.clone(), id);
                self.tree.insert(filter, id);
                (id, Some(id))
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
        let replaced = route.subscribers.insert(session, subscriber).is_some();
        Added { new_filter, replaced }
    }

    /// Removes a subscription: whether there was one, and the number of the filter that nobody wants any more.
    pub fn remove(&mut self, session: SessionId, filter: &TopicFilter) -> (bool, Option<FilterId>) {
        let Some(id) = self.ids.get(filter).copied() else {
            return (false, None);
        };
        let Some(route) = self.routes.get_mut(&id) else {
            return (false, None);
        };
        let existed = route.subscribers.remove(&session).is_some();
        if !route.subscribers.is_empty() {
            return (existed, None);
        }
        self.routes.remove(&id);
        self.ids.remove(filter);
        self.tree.remove(filter, &id);
        (existed, Some(id))
    }

    /// All filters, for a router that starts anew.
    pub fn filters(&self) -> impl Iterator<Item = (FilterId, &TopicFilter)> {
        self.routes.iter().map(|(id, route)| (*id, &route.filter))
    }

    /// The filters that a session is subscribed to.
    pub fn filters_of(&self, session: SessionId) -> Vec<TopicFilter> {
        let subscribed = self
            .routes
            .values()
            .filter(|route| route.subscribers.contains_key(&session));
        subscribed.map(|route| route.filter.clone()).collect()
    }

    /// The filters that match a message, found without the router.
    pub fn matching(&self, message: &Message) -> BTreeSet<FilterId> {
        self.tree.matching(&message.topic)
    }

    /// Puts a message into the mailboxes of those who subscribed to a filter.
    pub fn fan_out(&self, id: FilterId, message: &Arc<Message>) {
        // A filter that was given up while its message was under way has no route any more.
        let Some(route) = self.routes.get(&id) else {
            return;
        };
        for (_, mailbox, mail) in deliveries(route, message) {
            mailbox.put(mail);
        }
    }

    /// Everything that a message brings about by these subscriptions.
    pub fn deliveries<'a>(
        &'a self,
        message: &'a Arc<Message>,
    ) -> impl Iterator<Item = (SessionId, &'a Arc<Mailbox>, Ordinary)> {
        let matching = self.matching(message);
        matching
            .into_iter()
            .filter_map(|id| self.routes.get(&id))
            .flat_map(move |route| deliveries(route, message))
    }

    /// Are there no subscriptions at all?
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
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
