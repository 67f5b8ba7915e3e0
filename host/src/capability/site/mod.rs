//! `site`: directories that the host publishes.

/// An open change to a site.
pub struct Transaction {}
