//! Several writers and many readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let web = Web::serve(&world.repository());
    let done = Arc::new(AtomicBool::new(false));
    let (uri, repository, stop) = (web.uri(), world.repository(), Arc::clone(&done));
    let client = tokio::task::spawn_blocking(move || {
        let mut updates = 0;
        while !stop.load(Ordering::Relaxed) || updates < 10 {
            // A new client each time: it downloads every index.
            Apt::new(&uri, "stable", &repository).update();
            updates += 1;
        }
        updates
    });
    for number in 0..40 {
        distbot
            .publish(
                "main",
                &world
                    .build(&[Deb::new(&format!("package-{number}"), "1", "amd64")])
                    .await,
            )
            .await;
    }
    done.store(true, Ordering::Relaxed);
    let updates = client.await.unwrap();
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows().len(), 40, "after {updates} updates");
}
