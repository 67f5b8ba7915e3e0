//! How helpers end, and what is told of it.

use std::time::Instant;

use super::*;
use crate::confine::ConfineError;

/// What the owner is told of a helper that gets an order.
fn told(limits: Limits, order: &Order) -> ConfineError {
    let mut helper = hostile_with(limits);
    helper.send(order).unwrap();
    helper.receive_bytes().unwrap_err()
}

#[test]
fn too_much_memory_is_told_as_such() {
    let limits = Limits {
        memory: 96 << 20,
        ..LIMITS
    };
    for order in [Order::Eat, Order::EatInLibrary] {
        let error = told(limits, &order);
        assert_eq!(error.to_string(), "it takes more than 96 MiB of memory", "{order:?}");
        assert!(error.is_by_input());
    }
}

#[test]
fn too_much_processor_time_is_told_as_such() {
    let limits = Limits { processor: 1, ..LIMITS };
    let error = told(limits, &Order::Spin);
    assert_eq!(error.to_string(), "it takes more than 1 s of processor time");
}

#[test]
fn a_helper_that_is_not_done_in_time_is_told_as_such_however_it_dallies() {
    for order in [Order::Sleep, Order::Spin, Order::Trickle, Order::Shout] {
        let mut helper = hostile_with(LIMITS);
        helper.send(&Order::Answer(1)).unwrap();
        helper.receive_bytes().unwrap();
        // Not before it works: a busy machine takes its time to start it.
        helper.renew(Duration::from_secs(2));
        let error = helper.send(&order).and_then(|()| helper.receive_bytes()).unwrap_err();
        assert!(matches!(error, ConfineError::Deadline(_)), "{order:?}: {error}");
        assert!(!error.is_by_input(), "the machine may be slow");
    }
}

#[test]
fn an_answer_that_is_too_long_is_told_as_such() {
    let limits = Limits {
        message: 4096,
        ..LIMITS
    };
    let mut helper = hostile_with(limits);
    helper.send(&Order::Answer(4096)).unwrap();
    assert_eq!(helper.receive_bytes().unwrap().len(), 4096);
    // An honest helper knows its limit, and says that it can't answer.
    helper.send(&Order::Answer(4097)).unwrap();
    let error = helper.receive_bytes().unwrap_err().to_string();
    assert!(
        error.contains("ended with status 1: the message is longer than 4096 bytes"),
        "{error}"
    );
}

#[test]
fn a_fault_is_told_with_its_last_words_on_one_line() {
    let error = told(LIMITS, &Order::Panic).to_string();
    assert!(
        error.starts_with("its helper process ended with status 101: "),
        "{error}"
    );
    assert!(
        error.contains("a fault in the parser") && !error.contains('\n'),
        "{error}"
    );
    let error = told(LIMITS, &Order::Exit).to_string();
    assert_eq!(error, "its helper process ended with status 3");
}

#[test]
fn an_answer_of_another_kind_is_no_answer() {
    let mut helper = hostile_with(LIMITS);
    helper.send(&Order::Answer(3)).unwrap();
    let error = helper.receive::<String>().unwrap_err();
    assert!(
        matches!(error, ConfineError::Channel(ChannelError::Garbled(_))),
        "{error}"
    );
}

#[test]
fn a_helper_is_stopped_from_another_thread() {
    let mut helper = hostile_with(LIMITS);
    helper.send(&Order::Sleep).unwrap();
    let stopper = helper.stopper();
    let stopping = std::thread::spawn(move || stopper.stop());
    let error = helper.receive::<String>().unwrap_err();
    stopping.join().unwrap();
    assert!(matches!(error, ConfineError::Stopped), "{error}");
}

#[test]
fn more_time_can_be_given() {
    let limits = Limits {
        time: Duration::from_secs(1),
        ..LIMITS
    };
    let mut helper = hostile_with(limits);
    helper.renew(Duration::from_secs(300));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        helper.send(&Order::Answer(1)).unwrap();
        helper.receive_bytes().unwrap();
    }
}
