//! What the host can do for a bot. One capability, one module: its grant, its host side and its tests.

pub mod build;
