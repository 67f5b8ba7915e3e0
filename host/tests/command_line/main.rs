//! The program as a user meets it: the real binary, in a state directory of its own.

mod background;
mod bots;
mod configuration;
mod control_socket;
mod foreground;
mod help;
mod home;
mod keys;
mod names;
mod sight;
