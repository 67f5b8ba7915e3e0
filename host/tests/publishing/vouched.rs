//! Files in the pool that are not what was published: what a disk or another program did to them gets no signature.

use std::fs;
use std::path::PathBuf;

use foundry_host::capability::site::Digest;
use serde_json::Value;

use crate::builders::{ARCHITECTURES, Built, FULL, Source, is_sound, publish, refuse};
use crate::operator::done;
use crate::package::Deb;
use crate::world::{Distbot, World};

const DOC: &str = "clock-doc_1.0-1_all.deb";

/// A build that is in `stable`, another one of the same source, and distbots for two suites.
struct Pool {
    world: World,
    first: Built,
    second: Built,
    stable: Distbot,
    testing: Distbot,
}

impl Pool {
    async fn new() -> Self {
        let world = World::new().await;
        let source = Source::new('a', "hello");
        let first = source.build(&world, "amd64", 1000, FULL).await;
        let second = source.build(&world, "i386", 1020, FULL).await;
        let stable = world.distbot(&[ARCHITECTURES]).await;
        publish(&stable, &first).await;
        let testing = world.distbot(&[ARCHITECTURES, ("codename", &["testing"])]).await;
        Self {
            world,
            first,
            second,
            stable,
            testing,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.repository().join("pool/main/c/clock").join(name)
    }

    /// Put other bytes in the place of a file, but not in that of its other names. Returns the bytes before.
    fn replace(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        let file = self.file(name);
        let before = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(file, bytes).unwrap();
        before
    }

    /// As an earlier release, or another program, would have left it.
    fn forget_records(&self) {
        fs::remove_dir_all(self.world.repository().join(".foundry/provenance")).unwrap();
    }

    /// The second build is refused in both suites, since a file is damaged, and nothing changes.
    async fn is_refused_for(&self, name: &str) {
        let before = self.world.everything();
        for distbot in [&self.testing, &self.stable] {
            let failure = refuse(distbot, &self.second).await;
            assert_eq!(failure["phase"], "repository", "{failure}");
            let found = Digest::of(&fs::read(self.file(name)).unwrap()).sha256;
            let expected = format!(
                "pool/main/c/clock/{name} is damaged: its SHA-256 is {found}, and {} was published (",
                self.first.sha256(name)
            );
            let reason = failure["reason"].as_str().unwrap();
            assert!(reason.starts_with(&expected), "{reason}");
            for remedy in ["foundry-host repo check DIR --deep", "repo repair"] {
                assert!(reason.contains(remedy), "{reason}");
            }
            assert!(!reason.contains("new version"), "{reason}");
        }
        assert!(self.world.everything() == before);
    }

    /// Damage files one after the other. Whole again, the second build is published.
    async fn strike(&self, damage: impl Fn(&[u8]) -> Vec<u8>) {
        for name in [DOC, "clock_1.0-1.dsc"] {
            let bytes = fs::read(self.file(name)).unwrap();
            let whole = self.replace(name, &damage(&bytes));
            self.is_refused_for(name).await;
            self.replace(name, &whole);
        }
        for distbot in [&self.testing, &self.stable] {
            assert_eq!(
                publish(distbot, &self.second).await["kept"].as_array().unwrap().len(),
                2
            );
        }
        is_sound(&self.world);
    }
}

fn rotted(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Where only the digest says so: in the last bytes of a package's data, in the middle of a signature.
    let place = bytes.len() - 60;
    bytes[place] ^= 1;
    bytes
}

fn truncated(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() - 60].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_rotted_before_a_second_build_is_not_signed_into_an_index() {
    Pool::new().await.strike(rotted).await;
    let without_record = Pool::new().await;
    without_record.forget_records();
    without_record.strike(rotted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_truncated_before_a_second_build_is_not_signed_into_an_index() {
    Pool::new().await.strike(truncated).await;
    let without_record = Pool::new().await;
    without_record.forget_records();
    without_record.strike(truncated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_was_replaced_by_another_of_its_name_is_not_signed_into_an_index() {
    let pool = Pool::new().await;
    let directory = tempfile::tempdir().unwrap();
    let other = Deb::new("clock-doc", "1.0-1", "all")
        .fields("Source: clock\n")
        .content("evil");
    let other = fs::read(other.build(directory.path())).unwrap();
    pool.replace(DOC, &other);
    pool.is_refused_for(DOC).await;
    pool.forget_records();
    pool.is_refused_for(DOC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_tarball_that_rotted_is_damage_and_no_conflict() {
    let pool = Pool::new().await;
    let name = "clock_1.0.orig.tar.gz";
    let bytes = fs::read(pool.file(name)).unwrap();
    pool.replace(name, &rotted(&bytes));
    pool.is_refused_for(name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_no_suite_has_any_more_is_known_by_its_record() {
    let pool = Pool::new().await;
    done(&pool.world, &["remove", "stable", "clock", "clock-doc"]);
    let bytes = fs::read(pool.file(DOC)).unwrap();
    let whole = pool.replace(DOC, &rotted(&bytes));
    pool.is_refused_for(DOC).await;
    pool.replace(DOC, &whole);
    publish(&pool.testing, &pool.second).await;
    is_sound(&pool.world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nothing_is_known_of_is_not_signed_into_an_index() {
    let pool = Pool::new().await;
    done(&pool.world, &["remove", "stable", "clock", "clock-doc"]);
    pool.forget_records();
    let before = pool.world.everything();
    let failure = refuse(&pool.testing, &pool.second).await;
    assert_eq!(failure["phase"], "repository", "{failure}");
    let reason = failure["reason"].as_str().unwrap();
    let (first, second) = (pool.first.sha256(DOC), pool.second.sha256(DOC));
    let expected = format!(
        "pool/main/c/clock/{DOC} may be damaged: its SHA-256 is {first}, this build's is {second}, and neither a suite nor a \
         record says which one was published ("
    );
    assert!(reason.starts_with(&expected), "{reason}");
    assert!(pool.world.everything() == before);
    // As it advises.
    done(&pool.world, &["gc"]);
    assert_eq!(publish(&pool.testing, &pool.second).await["kept"], Value::Null);
    is_sound(&pool.world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_replaced_as_the_failure_advises() {
    let pool = Pool::new().await;
    let bytes = fs::read(pool.file(DOC)).unwrap();
    pool.replace(DOC, &rotted(&bytes));
    pool.is_refused_for(DOC).await;
    done(&pool.world, &["repair", "stable"]);
    pool.is_refused_for(DOC).await;
    done(&pool.world, &["gc"]);
    publish(&pool.stable, &pool.second).await;
    // The record follows.
    publish(&pool.testing, &pool.first).await;
    is_sound(&pool.world);
}
