//! Ordinary publish and subscribe.
//!
//! - [`retained`] keeps the last retained message of each topic. Pure.
//! - [`routes`] knows which session subscribed to which filter, and how. Pure.
//! - [`hub`] is the task that owns both; [`handle`] is how others talk to it.

mod handle;
mod hub;
mod retained;
mod routes;

pub use handle::{HubHandle, SubscribeRequest};
pub use hub::Hub;
pub use routes::SubscriptionOptions;
