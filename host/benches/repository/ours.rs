//! distbot, as the component that runs in a host, with the real artifact store, key store and site.

use std::path::PathBuf;
use std::time::Instant;

use foundry_host::capability::Artifact;
use tokio::runtime::Runtime;

use crate::contender::Contender;
use crate::measure::{self, Cost};
use crate::world::{Distbot, World};

/// Packages of one event: about as many as fit into one.
const EVENT: usize = 1000;

pub struct Ours {
    runtime: Runtime,
    world: World,
    distbot: Distbot,
}

impl Ours {
    pub fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (world, distbot) = runtime.block_on(async {
            let world = World::new().await;
            let distbot = world.distbot(&[]).await;
            distbot.configure().await.unwrap();
            (world, distbot)
        });
        Self {
            runtime,
            world,
            distbot,
        }
    }
}

impl Contender for Ours {
    fn add(&mut self, packages: &[PathBuf]) -> Cost {
        let mut cost = Cost::default();
        for packages in packages.chunks(EVENT) {
            // An earlier bot's work: distbot finds its packages in the store.
            let artifacts: Vec<Artifact> = self.runtime.block_on(self.world.store(packages));
            measure::forget();
            let start = Instant::now();
            self.runtime.block_on(self.distbot.publish("main", &artifacts));
            cost = cost.then(Cost {
                time: start.elapsed(),
                peak: measure::own_peak(),
            });
        }
        cost
    }
}
