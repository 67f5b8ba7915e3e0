//! A host whose disk is full: said to be, and really, at every write of what it keeps.

use std::path::Path;

use foundry_host::bus::BrokerAddress;
use foundry_host::capability::{Level as LogLevel, LogHub};
use foundry_host::ledger::{DeadLetter, Ledger, LedgerError, Settled, Settlement};
use foundry_host::retention::Limits;
use foundry_host::supervisor::{Host, HostConfig, Level};

use crate::support::disks::{Mounted, fill, has_disks_of_its_own};
use crate::support::{event, eventually, publish, spec};
use crate::waiting::order;
use crate::{at, broker};

/// What a group of that name has: members, messages that wait, and messages that somebody has.
async fn group(operator: &foundry_broker::Operator, name: &str) -> Option<(usize, usize, usize)> {
    let group = operator.groups().await.into_iter().find(|group| group.name == name)?;
    Some((group.members, group.waiting, group.leased))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_builds_takes_no_work_while_the_disk_is_full_and_the_others_do() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let operator = broker.operator();
    let config = HostConfig {
        retention: Limits {
            // No disk has as much.
            warn_free: Some(u64::MAX),
            stop_free: Some(u64::MAX),
            ..Limits::default()
        },
        ..at(directory.path(), BrokerAddress::local(broker.address()))
    };
    let host = Host::start(config).await.unwrap();
    assert_eq!(host.disk().unwrap().level, Level::Full);
    // Each with a group of its own.
    let packer = || spec("hostile").named("packer").option("endpoint", "packer");
    let mut builds = packer();
    builds.grants.build = true;
    host.load(builds).await.unwrap();
    let why = eventually("the list says why it does nothing", async || {
        host.status("packer").ok()?.detail
    })
    .await;
    assert!(why.contains("retention.stop-free"), "{why}");
    assert_eq!(host.inabilities(), [format!("builds: {why}")]);
    host.load(spec("hostile").named("others")).await.unwrap();
    assert!(operator.create_group("$share/packer/foundry/hostile-in").await);
    let order = order(directory.path(), "m", "done");
    publish(&BrokerAddress::local(broker.address()), "foundry/hostile-in", order).await;
    eventually("the other bot goes on", async || {
        (host.status("others").ok()?.handled == 1).then_some(())
    })
    .await;
    assert_eq!(
        group(&operator, "packer").await,
        Some((0, 1, 0)),
        "it waits for whoever has room"
    );
    assert_eq!(host.status("packer").unwrap().handled, 0);
    host.shutdown().await;
    // It holds the state directory as long as it is there.
    drop(host);
    // There is room again, as far as this start goes.
    let host = Host::start(at(directory.path(), BrokerAddress::local(broker.address())))
        .await
        .unwrap();
    host.load(packer()).await.unwrap();
    eventually("it is handled then", async || {
        (host.status("packer").ok()?.handled == 1).then_some(())
    })
    .await;
    host.shutdown().await;
    broker.stop().await;
}

/// A message's settlement with everything that it can have: state, an event to publish and on record, a dead letter. Some pages of each.
fn settlement(number: u64) -> Settlement {
    let text = "x".repeat(9000);
    let event = event(
        "out",
        &number.to_string(),
        "test.x.v1",
        serde_json::json!({ "text": text }),
    );
    Settlement {
        bot: "bot".to_owned(),
        message: Some(("group".to_owned(), number.to_string())),
        writes: vec![foundry_host::runtime::StateWrite {
            key: number.to_string(),
            value: Some(text.clone().into_bytes()),
        }],
        publish: vec![("foundry/out".to_owned(), text.clone().into_bytes())],
        events: vec![foundry_host::ledger::EventRow::of(&event, "out")],
        dead: Some(DeadLetter::now(
            "bot",
            "out",
            Some(number.to_string()),
            text,
            3,
            b"payload",
        )),
        ..Settlement::default()
    }
}

/// Which of the effects of a settlement are there.
async fn effects(ledger: &Ledger, number: u64) -> [bool; 4] {
    let number = number.to_string();
    let letters = ledger.dead_letters().await.unwrap();
    [
        ledger.known("group", &number).await.unwrap().settled,
        ledger.state("bot", &number).await.unwrap().is_some(),
        ledger.run(&format!("run-{number}")).await.unwrap().is_some(),
        letters.iter().any(|letter| letter.id.as_ref() == Some(&number)),
    ]
}

async fn settled_on_a_small_disk(disk: &Path) {
    let _mounted = Mounted::small(disk, 8);
    let ledger = Ledger::open(&disk.join("ledger.sqlite")).unwrap();
    assert_eq!(ledger.settle(settlement(10_000)).await.unwrap(), Settled::Done);
    let mut refusals = 0;
    let mut waits = 1;
    for number in 10_001..10_201 {
        // A page more each time: it is full at another write.
        let filler = fill(disk, (number - 10_001) * 4);
        let outcome = ledger.settle(settlement(number)).await;
        std::fs::remove_file(filler).unwrap();
        let there = effects(&ledger, number).await;
        match outcome {
            Ok(_) => assert_eq!(there, [true; 4]),
            Err(error) => {
                assert!(matches!(error, LedgerError::Full(_)), "{error:?}");
                assert_eq!(there, [false; 4], "nothing of what is reported as failed");
                refusals += 1;
                // The message comes again, and there is room.
                assert_eq!(ledger.settle(settlement(number)).await.unwrap(), Settled::Done);
                assert_eq!(effects(&ledger, number).await, [true; 4]);
            }
        }
        waits += 1;
        assert_eq!(
            ledger.outbox_level().borrow().size.rows,
            waits,
            "each is to be published once"
        );
        if refusals > 3 && there == [true; 4] {
            break;
        }
    }
    assert!(refusals > 3, "{refusals}");
    assert_eq!(effects(&ledger, 10_000).await, [true; 4]);
    println!("{refusals} refusals");
}

#[test]
fn a_disk_that_is_full_at_any_write_of_a_settlement_costs_it_whole_or_not_at_all() {
    if has_disks_of_its_own("full::a_disk_that_is_full_at_any_write_of_a_settlement_costs_it_whole_or_not_at_all") {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk");
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(settled_on_a_small_disk(&disk));
    }
}

#[test]
fn a_disk_that_is_full_at_any_byte_of_a_log_costs_the_lines_that_had_no_room_and_no_others() {
    if !has_disks_of_its_own(
        "full::a_disk_that_is_full_at_any_byte_of_a_log_costs_the_lines_that_had_no_room_and_no_others",
    ) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let _mounted = Mounted::small(&disk, 2);
    let logs = LogHub::new(disk.join("logs"));
    let said = |run: Option<&str>| -> Vec<String> {
        let lines = match run {
            Some(run) => logs.of_run(run).unwrap(),
            None => logs.of_bot("bot").unwrap(),
        };
        lines.into_iter().map(|line| line.line).collect()
    };
    for run in [Some("r1"), None] {
        let mut expected = Vec::new();
        let mut lost = 0;
        for free in [0, 0, 4, 4, 8, 8, 12, 16, 24] {
            let filler = fill(&disk, free);
            // Three lines of nearly three pages together: they are cut at one place or another.
            let lines = ["a", "b", "c"].map(|letter| letter.repeat(3700 + free as usize));
            logs.write("bot", run, LogLevel::Info, &lines.join("\n"));
            std::fs::remove_file(filler).unwrap();
            let there = said(run);
            let new = there.strip_prefix(expected.as_slice()).expect("what was kept stays");
            assert!(lines.starts_with(new), "the first of them, whole, and no others");
            lost += lines.len() - new.len();
            expected = there;
            // With room all goes on.
            logs.write("bot", run, LogLevel::Info, "next");
            expected.push("next".to_owned());
            assert_eq!(said(run), expected);
        }
        assert!(lost > 3, "{lost}");
    }
}
