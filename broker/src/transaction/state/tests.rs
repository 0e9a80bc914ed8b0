//! Rule by rule, and a model of random producers under one transactional id.

use proptest::prelude::*;

use super::*;

fn place(partition: i32) -> Place {
    ("t".to_owned(), partition)
}

fn ready() -> Transaction {
    let mut transaction = Transaction::new(7, 1000, 0);
    assert_eq!(transaction.init(0, 1000, None, 99), Ok(Init::Ready(7, 0)));
    transaction
}

#[test]
fn a_transaction_ends_once_and_says_so_again() {
    let mut transaction = ready();
    let commit = |it: &mut Transaction| it.end(2, 7, 0, Marker::Commit);
    assert_eq!(commit(&mut transaction), Err(ResponseError::InvalidTxnState));
    assert_eq!(transaction.add(1, 7, 0, [place(0)]), Ok(true));
    assert_eq!(transaction.add(1, 7, 0, [place(0)]), Ok(false));
    assert_eq!(transaction.check_write(7, 0, &place(0)), Ok(()));
    assert_eq!(transaction.check_write(7, 0, &place(1)), Err(ResponseError::InvalidTxnState));
    assert_eq!(commit(&mut transaction), Ok(End::Begin(Marker::Commit)));
    assert_eq!(commit(&mut transaction), Err(ResponseError::ConcurrentTransactions));
    let abort = transaction.end(2, 7, 0, Marker::Abort);
    assert_eq!(abort, Err(ResponseError::InvalidTxnState));
    assert_eq!(transaction.add(3, 7, 0, [place(1)]), Err(ResponseError::ConcurrentTransactions));
    assert_eq!(transaction.check_write(7, 0, &place(0)), Err(ResponseError::InvalidTxnState));
    transaction.complete(4);
    assert_eq!(commit(&mut transaction), Ok(End::Done));
    assert_eq!(transaction.add(5, 7, 0, [place(2)]), Ok(true));
    assert_eq!(transaction.partitions.len(), 1, "the next transaction begins with nothing");
}

#[test]
fn a_newer_producer_fences_the_older_one_and_aborts_what_it_left() {
    let mut transaction = ready();
    transaction.add(1, 7, 0, [place(0)]).unwrap();
    assert_eq!(transaction.init(2, 1000, None, 99), Ok(Init::AbortFirst));
    assert_eq!(transaction.end(2, 7, 0, Marker::Commit), Err(ResponseError::ProducerFenced));
    assert_eq!(transaction.init(2, 1000, None, 99), Err(ResponseError::ConcurrentTransactions));
    transaction.complete(3);
    assert_eq!(transaction.init(4, 1000, None, 99), Ok(Init::Ready(7, 2)));
    assert_eq!(transaction.add(5, 7, 0, [place(0)]), Err(ResponseError::ProducerFenced));
    assert_eq!(transaction.add(5, 8, 2, [place(0)]), Err(ResponseError::InvalidProducerIdMapping));
    assert_eq!(transaction.init(6, 1, Some((7, 1)), 99), Err(ResponseError::ProducerFenced));
    assert_eq!(transaction.init(6, 1, Some((7, 2)), 99), Ok(Init::Ready(7, 3)));
}

#[test]
fn an_id_that_was_never_used_belongs_to_whoever_comes_first() {
    let mut transaction = Transaction::new(7, 1000, 0);
    assert_eq!(transaction.init(0, 1000, Some((3, 5)), 99), Ok(Init::Ready(7, 0)));
    assert_eq!(transaction.init(0, 1000, Some((3, 5)), 99), Err(ResponseError::ProducerFenced));
}

#[test]
fn after_the_last_epoch_comes_another_producer() {
    let mut transaction = ready();
    transaction.epoch = EPOCH_MAX;
    assert_eq!(transaction.init(1, 1000, None, 99), Ok(Init::Ready(99, 0)));
}

#[test]
fn time_aborts_what_is_open_and_forgets_what_is_silent() {
    let mut transaction = ready();
    assert!(!transaction.is_overdue(i64::MAX));
    transaction.add(10, 7, 0, [place(0)]).unwrap();
    assert!(!transaction.is_overdue(1009) && transaction.is_overdue(1010));
    assert!(!transaction.is_expired(i64::MAX, 5));
    transaction.fence(1010);
    assert_eq!((transaction.epoch, transaction.state), (1, State::Preparing(Marker::Abort)));
    transaction.complete(1011);
    assert!(!transaction.is_expired(1015, 5) && transaction.is_expired(1016, 5));
}

#[derive(Clone, Debug)]
enum Step {
    /// A client (0 or 1) begins anew; perhaps by what it claims.
    Init(usize, bool),
    Add(usize, i32),
    Write(usize, i32),
    End(usize, bool),
    Complete,
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..2usize;
    prop_oneof![
        1 => (who.clone(), any::<bool>()).prop_map(|(who, claims)| Step::Init(who, claims)),
        3 => (who.clone(), 0..3).prop_map(|(who, partition)| Step::Add(who, partition)),
        4 => (who.clone(), 0..3).prop_map(|(who, partition)| Step::Write(who, partition)),
        2 => (who, any::<bool>()).prop_map(|(who, commits)| Step::End(who, commits)),
        3 => Just(Step::Complete),
        1 => (0..800i64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// The log of one partition, as the reference knows it: each write belongs to the transaction
    /// that was open when it was let in, and only the newest epoch is let in.
    #[test]
    fn writes_are_let_in_only_within_the_newest_producers_open_transaction(
        steps in proptest::collection::vec(step(), 1..200)
    ) {
        let mut transaction = Transaction::new(7, 1000, 0);
        let mut held = [(-1i64, -1i16); 2];
        let (mut now_ms, mut newest, mut open) = (0, (-1i64, -1i16), false);
        let mut decided: Option<Marker> = None;
        for step in steps {
            match step {
                Step::Init(who, claims) => {
                    let claimed = (claims && held[who].0 >= 0).then_some(held[who]);
                    match transaction.init(now_ms, 1000, claimed, 50) {
                        Ok(Init::Ready(id, epoch)) => {
                            prop_assert!(!open && decided.is_none());
                            prop_assert!(id != newest.0 || epoch > newest.1);
                            newest = (id, epoch);
                            held[who] = newest;
                        }
                        Ok(Init::AbortFirst) => {
                            prop_assert!(open);
                            (open, decided) = (false, Some(Marker::Abort));
                            newest = (transaction.producer_id, transaction.epoch);
                        }
                        Err(_) => {}
                    }
                }
                Step::Add(who, partition) => {
                    let (id, epoch) = held[who];
                    if transaction.add(now_ms, id, epoch, [place(partition)]).is_ok() {
                        prop_assert_eq!(held[who], newest);
                        prop_assert!(decided.is_none());
                        open = true;
                    }
                }
                Step::Write(who, partition) => {
                    let (id, epoch) = held[who];
                    if transaction.check_write(id, epoch, &place(partition)).is_ok() {
                        prop_assert_eq!(held[who], newest);
                        prop_assert!(open && decided.is_none());
                        prop_assert!(transaction.partitions.contains(&place(partition)));
                    }
                }
                Step::End(who, commits) => {
                    let marker = if commits { Marker::Commit } else { Marker::Abort };
                    let (id, epoch) = held[who];
                    if transaction.end(now_ms, id, epoch, marker) == Ok(End::Begin(marker)) {
                        prop_assert_eq!(held[who], newest);
                        prop_assert!(open);
                        (open, decided) = (false, Some(marker));
                    }
                }
                Step::Complete => {
                    if decided.take().is_some() {
                        transaction.complete(now_ms);
                        prop_assert!(transaction.partitions.is_empty());
                    }
                }
                Step::Pass(ms) => {
                    now_ms += ms;
                    if transaction.is_overdue(now_ms) {
                        prop_assert!(open);
                        transaction.fence(now_ms);
                        (open, decided) = (false, Some(Marker::Abort));
                        newest = (transaction.producer_id, transaction.epoch);
                    }
                }
            }
            match transaction.state {
                State::Preparing(marker) => prop_assert_eq!(decided, Some(marker)),
                State::Ongoing => prop_assert!(open),
                State::Empty | State::Complete(_) => prop_assert!(!open && decided.is_none()),
            }
        }
    }
}
