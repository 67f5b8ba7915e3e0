//! The pipeline end to end: the real binary between real git repositories, dpkg-buildpackage, GnuPG, apt and MQTT
//! clients.

mod apt;
mod failures;
mod farm;
mod kill;
mod load_balancing;
mod package;
mod push_to_install;
