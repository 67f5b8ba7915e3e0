//! A signing host of its own: the head watches and publishes, and another machine has the packages key.

use std::fs;

use crate::archive;
use crate::farm::{BUILD, FAILURE, Farm, SIGN, publish};
use crate::network::Network;
use crate::package::run;
use crate::support::signer;

#[test]
fn a_signing_host_that_learns_late_whom_to_believe_signs_what_was_built_meanwhile() {
    let Some(network) = Network::new() else { return };
    let users = [("builder", "builder"), ("signer", "host")];
    let mut farm = Farm::new(network, &[&publish()], &users);
    farm.add("builder", BUILD);
    farm.add("signer", SIGN);
    the_signer_has_the_packages_key(&farm);
    farm.introduce("builder", "builder");
    farm.introduce("signer", "sign");
    farm.tell("builder");
    // The signer knows the builder, and not the head, which announces.
    the_signer_knows_the_builder_alone(&farm);
    farm.head.start();
    farm.machine("signer").start();
    farm.machine("builder").start();
    let pushed = ["one", "two"].map(|source| farm.sources.push(source));
    for pushed in &pushed {
        farm.await_event(pushed, "foundry.build.v1");
        let failure = farm.await_event(pushed, FAILURE);
        assert!(failure["source"].as_str().unwrap().starts_with("signer/"), "{failure}");
    }
    farm.tell("signer");
    for pushed in &pushed {
        farm.await_published(pushed);
        assert_eq!(farm.run_of(pushed).unwrap()["status"], "published");
    }
    assert_eq!(farm.pool(), archive::of(&pushed));
}

fn the_signer_has_the_packages_key(farm: &Farm) {
    let signer = farm.machine("signer");
    let user = "Packages <packages@example.org>";
    run(&mut signer.foundry(&["key", "generate", "--role", "packages", "--user-id", user]));
    let public = run(&mut signer.foundry(&["key", "export", "packages@example.org"]));
    fs::write(farm.head.file("packages.asc"), public + "\n").unwrap();
    run(&mut farm
        .head
        .foundry(&["key", "import", "--role", "packages", "packages.asc"]));
}

fn the_signer_knows_the_builder_alone(farm: &Farm) {
    let (signer_machine, builder) = (farm.machine("signer"), farm.machine("builder"));
    let fingerprint = signer(&builder.state()).fingerprint().to_string();
    let public = run(&mut builder.foundry(&["key", "export", &fingerprint]));
    fs::write(signer_machine.file("builder.asc"), public + "\n").unwrap();
    let import = [
        "key",
        "import",
        "--role",
        "messages",
        "--host",
        "builder",
        "--may",
        "builder",
        "builder.asc",
    ];
    run(&mut signer_machine.foundry(&import));
}
