//! Bots that something keeps from work: others get their messages, and everybody sees why.

use std::path::Path;

use foundry_host::ability::Whom;
use foundry_host::bus::{BrokerAddress, Counters};
use foundry_host::supervisor::{Host, HostConfig};

use crate::mosquitto::Mosquitto;
use crate::presence::status_becomes;
use crate::support::{eventually, introduce, publish};
use crate::waiting::{load, order};
use crate::{at, broker};

const TOPIC: &str = "foundry/hostile-in";
const WHY: &str = "the machine is on fire (put it out)";

pub fn hinder(host: &Host) {
    let whom = Whom::Bot("hostile".to_owned());
    host.services().ability.lose(whom, "test", WHY.to_owned());
}

pub fn help(host: &Host) {
    host.services().ability.regain(Whom::Bot("hostile".to_owned()), "test");
}

/// A host of a name in a directory below, which believes the one above and is believed by it.
pub async fn second(directory: &Path, broker: BrokerAddress) -> Host {
    let state = directory.join("two");
    introduce("two", &state, "all", directory);
    introduce("test", directory, "all", &state);
    let config = HostConfig {
        name: "two".to_owned(),
        ..at(&state, broker)
    };
    Host::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_unable_bot_would_try_again_goes_back_to_its_group_and_counts_as_no_attempt() {
    let directory = tempfile::tempdir().unwrap();
    // It goes back more often than it may be delivered. One is not enough to tell: where a machine is slow, a broker may miss a clean end.
    let broker = broker(directory.path(), |config| config.limits.group_deliveries = 3).await;
    let address = BrokerAddress::local(broker.address());
    let host = Host::start(at(directory.path(), address.clone())).await.unwrap();
    load(&host).await;
    publish(&address, TOPIC, order(directory.path(), "m", "wait an hour")).await;
    eventually("it waits for another attempt", async || {
        let status = host.status("hostile").unwrap();
        ((status.failed, status.in_hand) == (1, 1)).then_some(())
    })
    .await;
    let operator = broker.operator();
    for _ in 0..5 {
        hinder(&host);
        eventually("the group has it back, and no member", async || {
            let groups = operator.groups().await;
            let group = groups.into_iter().find(|group| group.name == "hostile")?;
            let is_back = (group.members, group.waiting, group.leased, group.dead) == (0, 1, 0, 0);
            (is_back && host.status("hostile").unwrap().in_hand == 0).then_some(())
        })
        .await;
        // The broker knows of it a moment before.
        eventually("it says why", async || {
            let status = host.status("hostile").unwrap();
            let says_why = (status.condition.name(), status.detail.as_deref()) == ("unable", Some(WHY));
            says_why.then_some(())
        })
        .await;
        help(&host);
        eventually("it has it in hand again", async || {
            (host.status("hostile").unwrap().in_hand == 1).then_some(())
        })
        .await;
    }
    assert_eq!(host.ledger().dead_letters().await.unwrap(), []);
    host.shutdown().await;
    broker.stop().await;
}

async fn others_do_the_work(directory: &Path, broker: BrokerAddress) {
    let one = Host::start(at(directory, broker.clone())).await.unwrap();
    let two = second(directory, broker.clone()).await;
    for host in [&one, &two] {
        load(host).await;
    }
    status_becomes(&two, "test", "running").await;
    // At Mosquitto it leaves the group to others alone.
    status_becomes(&one, "two", "running").await;
    hinder(&one);
    status_becomes(&two, "test", "unable").await;
    let shown = two.everyone().into_iter().find(|bot| bot.host == "test").unwrap();
    assert_eq!(shown.detail.as_deref(), Some(WHY));
    for number in 0..6 {
        publish(&broker, TOPIC, order(directory, &format!("m{number}"), "done")).await;
    }
    eventually("the other one does all of it", async || {
        (two.status("hostile").unwrap().handled == 6).then_some(())
    })
    .await;
    assert_eq!(one.status("hostile").unwrap().handled, 0);
    help(&one);
    status_becomes(&two, "test", "running").await;
    two.stop("hostile").await.unwrap();
    for number in 0..3 {
        publish(&broker, TOPIC, order(directory, &format!("last{number}"), "done")).await;
    }
    eventually("it works again, and gets all of it", async || {
        (one.status("hostile").unwrap().handled == 3).then_some(())
    })
    .await;
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_do_the_work_of_an_unable_bot_with_the_embedded_broker() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    others_do_the_work(directory.path(), BrokerAddress::local(broker.address())).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_do_the_work_of_an_unable_bot_with_mosquitto() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    others_do_the_work(directory.path(), mosquitto.address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_tells_others_what_its_bots_have_done_and_one_that_is_away_tells_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let one = Host::start(at(directory.path(), address.clone())).await.unwrap();
    let two = second(directory.path(), address.clone()).await;
    load(&two).await;
    status_becomes(&one, "two", "running").await;
    for (name, what) in [("a", "done"), ("b", "done"), ("c", "wait an hour")] {
        publish(&address, TOPIC, order(directory.path(), name, what)).await;
    }
    let expected = Counters {
        handled: 2,
        failed: 1,
        in_hand: 1,
    };
    eventually("the counters are those of the bot's own host", async || {
        let jobs = one.jobs_of(&one.everyone()).await;
        (jobs.get("two")?.get("hostile") == Some(&expected)).then_some(())
    })
    .await;
    let bots = one.everyone();
    two.shutdown().await;
    assert_eq!(one.jobs_of(&bots).await.get("two"), None);
    one.shutdown().await;
    broker.stop().await;
}
