//! The host, as a component reaches it.

use foundry_sdk::{Artifact, artifacts, bindings, clock, log, signing, site};

use crate::host::{Host, Transaction};

/// The host that runs this component.
#[derive(Debug, Clone, Copy)]
pub struct Sandbox;

impl Host for Sandbox {
    fn read_artifact(&self, artifact: &Artifact, offset: u64, length: u32) -> Result<Vec<u8>, artifacts::Error> {
        artifacts::read(artifact, offset, length)
    }

    fn begin(&self, directory: &str) -> Result<Box<dyn Transaction + '_>, site::Error> {
        Ok(Box::new(site::begin(directory)?))
    }

    fn compress(&self, how: site::Compression, bytes: &[u8]) -> Vec<u8> {
        site::compress(how, bytes)
    }

    fn digest(&self, bytes: &[u8]) -> site::Digest {
        site::digest_of(bytes)
    }

    fn fingerprint(&self, key: &str) -> Result<String, signing::Error> {
        signing::fingerprint(key)
    }

    fn clear_sign(&self, key: &str, text: &[u8]) -> Result<Vec<u8>, signing::Error> {
        signing::clear_sign(key, text)
    }

    fn detach_sign(&self, key: &str, bytes: &[u8]) -> Result<Vec<u8>, signing::Error> {
        signing::detach_sign(key, bytes)
    }

    fn public_key(&self, key: &str) -> Result<String, signing::Error> {
        signing::public_key(key)
    }

    fn now(&self) -> u64 {
        clock::now()
    }

    fn rfc5322(&self, millis: u64) -> String {
        clock::rfc5322(millis)
    }

    fn warn(&self, line: &str) {
        log::warn(line);
    }
}

type HostTransaction = bindings::foundry::bot::site::Transaction;

impl Transaction for HostTransaction {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, site::Error> {
        Self::read(self, path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, site::Error> {
        Self::list(self, path)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), site::Error> {
        Self::write(self, path, bytes)
    }

    fn add(&self, path: &str, artifact: &Artifact) -> Result<site::Digest, site::Error> {
        Self::add(self, path, artifact)
    }

    fn remove(&self, path: &str) -> Result<(), site::Error> {
        Self::remove(self, path)
    }

    fn commit(&self, last: &[String]) -> Result<(), site::Error> {
        Self::commit(self, last)
    }
}
