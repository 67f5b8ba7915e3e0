//! Ordinary publish and subscribe.
//!
//! - [`retained`] keeps the last retained message of each topic. Pure.
//! - [`routes`] knows which session subscribed to which filter, and how. Pure.
//! - [`router`] is the edge to rumqttd's router, which finds the filters that a topic matches.
//! - [`hub`] is the task that owns all three; [`handle`] is how others talk to it.

mod handle;
mod hub;
mod retained;
mod router;
mod routes;

pub use handle::{HubHandle, SubscribeRequest};
pub use hub::Hub;
pub use routes::SubscriptionOptions;
