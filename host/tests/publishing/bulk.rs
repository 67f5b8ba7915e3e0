//! Commits of very many packages.

use serde_json::Value;

use crate::apt::Apt;
use crate::packages;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_too_large_for_an_event_is_announced_all_the_same() {
    const COUNT: usize = 1200;
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let built = tempfile::tempdir().unwrap();
    let artifacts = world.store(&packages::build(built.path(), 0, COUNT)).await;
    let dists = distbot.publish("main", &artifacts).await;
    let [dist] = dists.as_slice() else { panic!("{dists:?}") };
    for (list, omitted) in [("packages", "omittedPackages"), ("artifacts", "omittedArtifacts")] {
        let named = dist[list].as_array().map_or(0, Vec::len);
        let omitted = dist[omitted].as_u64().unwrap_or_default() as usize;
        assert_eq!(named + omitted, COUNT, "{list}");
        assert!(named > 100, "{named} {list}");
    }
    assert_ne!(dist["omittedArtifacts"], Value::Null);
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows().len(), COUNT);
}
