//! A signbot whose key is in the GnuPG ring of the host's user, when that ring fails.

use super::alike::{Ring, fresh_host};
use super::*;
use foundry_host::keys::Location;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_ring_does_not_have_is_refused_at_load_with_where_it_was_looked_for() {
    let host = TestHost::start().await;
    let refused = host
        .host
        .load(signbot("nobody@example.org"))
        .await
        .unwrap_err()
        .to_string();
    for place in ["keys", "gnupg"] {
        let place = host.directory.path().join(place);
        assert!(refused.contains(place.to_str().unwrap()), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_that_nobody_gives_leaves_the_build_waiting_and_says_what_helps() {
    let ring = Ring::new();
    let (fingerprint, secret) = ring.protected_key("ed25519", "open sesame");
    // Nothing asks for the passphrase while signbot starts.
    let bench = fresh_host(&fingerprint, &secret, Location::Gnupg).await;
    let home = bench.host.directory.path().join("gnupg");
    fs::write(home.join("gpg-agent.conf"), "pinentry-program /bin/false\n").unwrap();
    alike::end_agent(&home);
    let mut logs = bench.host.host.logs();
    let build = tempfile::tempdir().unwrap();
    bench.announce("locked", "master", &built(build.path())).await;
    let line = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let line = logs.recv().await.unwrap();
            if line.line.contains("attempt 2") {
                return line.line.clone();
            }
        }
    });
    let line = line.await.unwrap();
    assert!(
        line.contains("FOUNDRY_PASSPHRASE_FILE") && line.contains(&fingerprint),
        "{line}"
    );
    assert!(bench.host.events().await.iter().all(|event| event.topic != "failures"));
}
