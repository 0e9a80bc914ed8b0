//! Rule by rule, and a model of random producers under one transactional id.

use proptest::prelude::*;

use super::ending::End;
use super::*;
use crate::transaction::records;

fn place(partition: i32) -> Place {
    ("t".to_owned(), partition)
}

fn ready() -> Transaction {
    let mut transaction = Transaction::new(7, 1000, 0);
    assert_eq!(transaction.init(0, 1000, None, 99), Ok(Init::Ready(7, 0)));
    transaction
}

fn end_by_one(it: &mut Transaction, epoch: i16, marker: Marker) -> Result<End, ResponseError> {
    it.end(2, (7, epoch), marker, Version::One, None)
}

fn completed(transaction: &Transaction) -> Transaction {
    let mut completed = transaction.clone();
    completed.complete(3);
    completed
}

/// By version 2; the fresh id is 99.
fn end_by_two(
    it: &mut Transaction,
    producer: (i64, i16),
    marker: Marker,
) -> Result<End, ResponseError> {
    it.end(2, producer, marker, Version::Two, Some(99))
}

#[test]
fn a_transaction_ends_once_and_says_so_again() {
    let mut transaction = ready();
    let commit = |it: &mut Transaction| end_by_one(it, 0, Marker::Commit);
    assert_eq!(commit(&mut transaction), Err(ResponseError::InvalidTxnState));
    assert_eq!(transaction.add(1, 7, 0, [place(0)]), Ok(true));
    assert_eq!(transaction.add(1, 7, 0, [place(0)]), Ok(false));
    assert_eq!(transaction.check_write(7, 0, &place(0)), Ok(()));
    assert_eq!(transaction.check_write(7, 0, &place(1)), Err(ResponseError::TransactionAbortable));
    assert_eq!(commit(&mut transaction), Ok(End::Begin(Marker::Commit)));
    assert_eq!(commit(&mut transaction), Err(ResponseError::ConcurrentTransactions));
    let abort = end_by_one(&mut transaction, 0, Marker::Abort);
    assert_eq!(abort, Err(ResponseError::InvalidTxnState));
    assert_eq!(transaction.add(3, 7, 0, [place(1)]), Err(ResponseError::ConcurrentTransactions));
    assert_eq!(
        transaction.check_write(7, 0, &place(0)),
        Err(ResponseError::ConcurrentTransactions)
    );
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
    let late = end_by_one(&mut transaction, 0, Marker::Commit);
    assert_eq!(late, Err(ResponseError::ProducerFenced));
    for state in [transaction.clone(), completed(&transaction)] {
        // Not even an abort that would be a repeat if it had ended by itself.
        let late = end_by_two(&mut state.clone(), (7, 0), Marker::Abort);
        assert_eq!(late, Err(ResponseError::ProducerFenced));
    }
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
    assert_eq!(transaction.init(0, 1000, Some((3, 6)), 99), Err(ResponseError::ProducerFenced));
}

#[test]
fn who_goes_on_and_missed_the_answer_is_given_the_same_epoch_again() {
    let mut transaction = ready();
    for _ in 0..2 {
        assert_eq!(transaction.init(1, 1000, Some((7, 0)), 99), Ok(Init::Ready(7, 1)));
    }
    transaction.add(2, 7, 1, [place(0)]).unwrap();
    let late = transaction.init(3, 1000, Some((7, 0)), 99);
    assert_eq!(late, Err(ResponseError::ProducerFenced), "it has written since");
    assert_eq!(end_by_one(&mut transaction, 1, Marker::Commit), Ok(End::Begin(Marker::Commit)));
    transaction.complete(4);
    // Somebody else comes: from now on there is nothing to go on with.
    assert_eq!(transaction.init(5, 1000, None, 99), Ok(Init::Ready(7, 2)));
    assert_eq!(transaction.init(6, 1000, Some((7, 1)), 99), Err(ResponseError::ProducerFenced));
    transaction.epoch = EPOCH_MAX;
    for _ in 0..2 {
        let last = Some((7, EPOCH_MAX));
        assert_eq!(transaction.init(7, 1000, last, 99), Ok(Init::Ready(99, 0)));
    }
}

#[test]
fn after_the_last_epoch_comes_another_producer() {
    let mut transaction = ready();
    transaction.epoch = EPOCH_MAX;
    assert_eq!(transaction.init(1, 1000, None, 99), Ok(Init::Ready(99, 0)));
}

#[test]
fn by_version_2_each_end_bumps_the_epoch_and_a_repeat_is_told_so() {
    let mut transaction = ready();
    transaction.add(1, 7, 0, [place(0)]).unwrap();
    let commit = |it: &mut Transaction, epoch| end_by_two(it, (7, epoch), Marker::Commit);
    let abort = |it: &mut Transaction, epoch| end_by_two(it, (7, epoch), Marker::Abort);
    assert_eq!(commit(&mut transaction, 0), Ok(End::Begin(Marker::Commit)));
    assert_eq!((transaction.producer_id, transaction.epoch), (7, 1), "the marker's");
    assert_eq!(commit(&mut transaction, 0), Err(ResponseError::ConcurrentTransactions));
    assert_eq!(abort(&mut transaction, 0), Err(ResponseError::InvalidTxnState));
    assert_eq!(commit(&mut transaction, 1), Err(ResponseError::ProducerFenced));
    assert_eq!(transaction.add(2, 7, 0, [place(0)]), Err(ResponseError::ProducerFenced));
    transaction.complete(3);
    assert_eq!(commit(&mut transaction, 0), Ok(End::Done));
    assert_eq!((transaction.producer_id, transaction.epoch), (7, 1));
    assert_eq!(abort(&mut transaction, 0), Err(ResponseError::InvalidTxnState));
    assert_eq!(commit(&mut transaction, 1), Err(ResponseError::InvalidTxnState), "nothing is open");
    assert_eq!(transaction.check_write(7, 0, &place(0)), Err(ResponseError::ProducerFenced));
    assert_eq!(transaction.add(4, 7, 1, [place(1)]), Ok(true));
    assert_eq!(commit(&mut transaction, 0), Err(ResponseError::ProducerFenced), "too late");
    assert_eq!(commit(&mut transaction, 1), Ok(End::Begin(Marker::Commit)));
    assert_eq!(transaction.epoch, 2);
}

#[test]
fn by_version_2_what_was_never_begun_can_be_aborted() {
    let mut transaction = ready();
    let commit = end_by_two(&mut transaction, (7, 0), Marker::Commit);
    assert_eq!(commit, Err(ResponseError::InvalidTxnState));
    for epoch in 0..2 {
        let abort = |it: &mut Transaction| end_by_two(it, (7, epoch), Marker::Abort);
        assert_eq!(abort(&mut transaction), Ok(End::Begin(Marker::Abort)));
        assert!(transaction.partitions.is_empty());
        assert_eq!(abort(&mut transaction), Err(ResponseError::ConcurrentTransactions));
        transaction.complete(3);
        assert_eq!(abort(&mut transaction), Ok(End::Done));
        assert_eq!(transaction.epoch, epoch + 1);
    }
    transaction.add(4, 7, 2, [place(0)]).unwrap();
    end_by_two(&mut transaction, (7, 2), Marker::Commit).unwrap();
    transaction.complete(5);
    let abort = end_by_two(&mut transaction, (7, 3), Marker::Abort);
    assert_eq!(abort, Ok(End::Begin(Marker::Abort)), "after a commit too");
}

#[test]
fn by_version_2_another_producer_takes_over_after_the_last_epoch() {
    let mut transaction = ready();
    transaction.epoch = EPOCH_MAX;
    transaction.add(1, 7, EPOCH_MAX, [place(0)]).unwrap();
    let last = (7, EPOCH_MAX);
    let without = transaction.end(2, last, Marker::Commit, Version::Two, None);
    assert_eq!(without, Err(ResponseError::ConcurrentTransactions), "no id is at hand");
    assert_eq!(transaction.state, State::Ongoing);
    let commit = |it: &mut Transaction| end_by_two(it, last, Marker::Commit);
    assert_eq!(commit(&mut transaction), Ok(End::Begin(Marker::Commit)));
    assert_eq!((transaction.producer_id, transaction.epoch), (7, i16::MAX), "the marker's");
    assert_eq!(commit(&mut transaction), Err(ResponseError::ConcurrentTransactions));
    transaction.complete(3);
    assert_eq!(commit(&mut transaction), Ok(End::Done));
    assert_eq!((transaction.producer_id, transaction.epoch), (99, 0));
    assert_eq!(transaction.add(4, 99, 0, [place(0)]), Ok(true));
    assert_eq!(commit(&mut transaction), Err(ResponseError::InvalidProducerIdMapping), "too late");
}

#[test]
fn whom_time_has_aborted_goes_on_after_an_abort_by_version_2() {
    let mut transaction = ready();
    transaction.add(10, 7, 0, [place(0)]).unwrap();
    transaction.fence(1010, Fenced::ByTime);
    let late = end_by_two(&mut transaction, (7, 0), Marker::Commit);
    assert_eq!(late, Err(ResponseError::InvalidTxnState));
    let late = end_by_one(&mut transaction, 0, Marker::Abort);
    assert_eq!(late, Err(ResponseError::ProducerFenced), "version 1 cannot tell the new epoch");
    transaction.complete(1011);
    assert_eq!(end_by_two(&mut transaction, (7, 0), Marker::Abort), Ok(End::Done));
    assert_eq!(transaction.add(1012, 7, 1, [place(0)]), Ok(true));
}

#[test]
fn time_aborts_what_is_open_and_forgets_what_is_silent() {
    let mut transaction = ready();
    assert!(!transaction.is_overdue(i64::MAX));
    transaction.add(10, 7, 0, [place(0)]).unwrap();
    assert!(!transaction.is_overdue(1009) && transaction.is_overdue(1010));
    assert!(!transaction.is_expired(i64::MAX, 5));
    transaction.fence(1010, Fenced::ByTime);
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
    /// It ends by version 2 or 1, by commit or abort; perhaps its answer is lost.
    End(usize, Version, bool, bool),
    Complete,
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..2usize;
    let version = prop_oneof![1 => Just(Version::One), 3 => Just(Version::Two)];
    prop_oneof![
        1 => (who.clone(), any::<bool>()).prop_map(|(who, claims)| Step::Init(who, claims)),
        3 => (who.clone(), 0..3).prop_map(|(who, partition)| Step::Add(who, partition)),
        4 => (who.clone(), 0..3).prop_map(|(who, partition)| Step::Write(who, partition)),
        3 => (who, version, any::<bool>(), proptest::bool::weighted(0.3))
            .prop_map(|(who, version, commits, lost)| Step::End(who, version, commits, lost)),
        3 => Just(Step::Complete),
        1 => (0..800i64).prop_map(Step::Pass),
    ]
}

/// What the reference knows: who was let in last, and what is open or being ended.
struct Reference {
    transaction: Transaction,
    /// What each client takes for its id and epoch.
    held: [(i64, i16); 2],
    now_ms: i64,
    /// Every id and epoch that were ever current, in order; the last are.
    epochs: Vec<(i64, i16)>,
    open: bool,
    decided: Option<Marker>,
    fresh_id: i64,
    /// By version 2: the clients that have written in the epoch that is current.
    writers: std::collections::BTreeSet<(usize, i64, i16)>,
}

impl Reference {
    /// Epochs of an id only grow, and an id that was left never comes back.
    fn follow(&mut self) {
        let current = (self.transaction.producer_id, self.transaction.epoch);
        let newest = *self.epochs.last().expect("there is one");
        if current == newest {
            return;
        }
        let is_next = current.0 == newest.0 && current.1 > newest.1;
        let is_new = current.1 == 0 && self.epochs.iter().all(|(id, _)| *id != current.0);
        assert!(is_next || is_new, "{current:?} after {newest:?}");
        self.epochs.push(current);
    }

    fn newest(&self) -> (i64, i16) {
        *self.epochs.last().expect("there is one")
    }

    fn init(&mut self, who: usize, claims: bool) {
        let claimed = (claims && self.held[who].0 >= 0).then_some(self.held[who]);
        self.fresh_id += 1;
        match self.transaction.init(self.now_ms, 1000, claimed, self.fresh_id) {
            Ok(Init::Ready(id, epoch)) => {
                assert!(!self.open && self.decided.is_none());
                self.held[who] = (id, epoch);
                self.writers.clear();
            }
            Ok(Init::AbortFirst) => {
                assert!(self.open);
                (self.open, self.decided) = (false, Some(Marker::Abort));
            }
            Err(_) => {}
        }
    }

    fn end(&mut self, who: usize, version: Version, commits: bool, lost: bool) {
        let marker = if commits { Marker::Commit } else { Marker::Abort };
        self.fresh_id += 1;
        let (before, held) = (self.newest(), self.held[who]);
        match self.transaction.end(self.now_ms, held, marker, version, Some(self.fresh_id)) {
            Ok(End::Begin(it)) => {
                assert_eq!((held, it), (before, marker), "only the newest decides");
                assert!(self.open || version == Version::Two && !commits);
                assert!(self.decided.is_none());
                (self.open, self.decided) = (false, Some(marker));
                let bumped = (held.0, held.1.saturating_add(1));
                let expected = if version == Version::Two { bumped } else { held };
                let current = (self.transaction.producer_id, self.transaction.epoch);
                assert_eq!(current, expected);
            }
            Ok(End::Done) => {
                assert_eq!(self.transaction.state, State::Complete(marker));
                if version == Version::Two && !lost {
                    // The answer: what it goes on with.
                    self.held[who] = (self.transaction.producer_id, self.transaction.epoch);
                }
            }
            Err(_) => {}
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Init(who, claims) => self.init(who, claims),
            Step::Add(who, partition) => {
                let (id, epoch) = self.held[who];
                if self.transaction.add(self.now_ms, id, epoch, [place(partition)]).is_ok() {
                    assert_eq!(self.held[who], self.newest());
                    assert!(self.decided.is_none());
                    self.open = true;
                }
            }
            Step::Write(who, partition) => {
                let (id, epoch) = self.held[who];
                if self.transaction.check_write(id, epoch, &place(partition)).is_ok() {
                    assert_eq!(self.held[who], self.newest());
                    assert!(self.open && self.decided.is_none());
                    assert!(self.transaction.partitions.contains(&place(partition)));
                    self.writers.insert((who, id, epoch));
                    let ids = self.writers.iter().map(|(_, id, epoch)| (*id, *epoch));
                    let ids: std::collections::BTreeSet<_> = ids.collect();
                    assert_eq!(ids.len(), 1, "one open transaction has one id and epoch");
                }
            }
            Step::End(who, version, commits, lost) => self.end(who, version, commits, lost),
            Step::Complete => {
                if self.decided.take().is_some() {
                    self.transaction.complete(self.now_ms);
                    assert!(self.transaction.partitions.is_empty());
                    self.writers.clear();
                }
            }
            Step::Pass(ms) => {
                self.now_ms += ms;
                if self.transaction.is_overdue(self.now_ms) {
                    assert!(self.open);
                    self.transaction.fence(self.now_ms, Fenced::ByTime);
                    (self.open, self.decided) = (false, Some(Marker::Abort));
                }
            }
        }
        self.follow();
        match self.transaction.state {
            State::Preparing(marker) => assert_eq!(self.decided, Some(marker)),
            State::Ongoing => assert!(self.open),
            State::Empty | State::Complete(_) => assert!(!self.open && self.decided.is_none()),
        }
    }
}

proptest! {
    /// Each write belongs to the transaction that was open when it was let in, only the newest epoch
    /// is let in, and no epoch comes back; whatever version each of two clients speaks, also where
    /// epochs run out, and across restarts, which forget what is not stored.
    #[test]
    fn writes_are_let_in_only_within_the_newest_producers_open_transaction(
        steps in proptest::collection::vec((step(), proptest::bool::weighted(0.1)), 1..200),
        first_epoch in prop_oneof![Just(0i16), EPOCH_MAX - 4..=EPOCH_MAX],
    ) {
        let mut transaction = Transaction::new(7, 1000, 0);
        prop_assert_eq!(transaction.init(0, 1000, None, 50), Ok(Init::Ready(7, 0)));
        transaction.epoch = first_epoch;
        let first = (7, first_epoch);
        let mut reference = Reference {
            transaction,
            held: [first, (-1, -1)],
            now_ms: 0,
            epochs: vec![first],
            open: false,
            decided: None,
            fresh_id: 100,
            writers: std::collections::BTreeSet::new(),
        };
        for (step, restarts) in steps {
            reference.step(step);
            if restarts {
                let stored = records::encode(&reference.transaction);
                reference.transaction = records::decode(&stored).expect("it was stored");
            }
        }
    }
}
