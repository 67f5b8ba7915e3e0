//! Several writers and many readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::apt::{Apt, Web};
use crate::package::Deb;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_distbots_on_one_directory_lose_nothing() {
    let world = World::new().await;
    let (one, other) = (world.distbot(&[]).await, world.distbot(&[]).await);
    let mut packages = Vec::new();
    for number in 0..20 {
        packages.push(
            world
                .build(&[Deb::new(&format!("package-{number:02}"), "1", "amd64")])
                .await,
        );
    }
    let publish = async |distbot: &crate::world::Distbot, remainder: usize| {
        for (number, package) in packages.iter().enumerate() {
            if number % 2 == remainder {
                distbot.publish("main", package).await;
            }
        }
    };
    tokio::join!(publish(&one, 0), publish(&other, 1));
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    let expected: Vec<_> = (0..20).map(|number| format!("package-{number:02}=1")).collect();
    assert_eq!(apt.knows(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_update_during_publications_never_see_a_mismatch() {
    // `FOUNDRY_TEST_UPDATES=500` for a longer look.
    let wanted: usize = std::env::var("FOUNDRY_TEST_UPDATES").map_or(10, |updates| updates.parse().unwrap());
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let web = Web::serve(&world.repository());
    let done = Arc::new(AtomicBool::new(false));
    let (uri, repository, stop) = (web.uri(), world.repository(), Arc::clone(&done));
    let updated = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&updated);
    let client = tokio::task::spawn_blocking(move || {
        while !stop.load(Ordering::Relaxed) {
            // A new client each time: it downloads every index.
            Apt::new(&uri, "stable", &repository).update();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut published = 0;
    while published < 40 || updated.load(Ordering::Relaxed) < wanted {
        assert!(!client.is_finished(), "a client failed after {published} publications");
        let package = Deb::new(&format!("package-{published}"), "1", "amd64");
        distbot.publish("main", &world.build(&[package]).await).await;
        published += 1;
    }
    done.store(true, Ordering::Relaxed);
    client.await.unwrap();
    println!(
        "{} updates during {published} publications",
        updated.load(Ordering::Relaxed)
    );
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows().len(), published);
}
