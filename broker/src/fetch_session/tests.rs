//! Fetch sessions: the way of an epoch, what goes when there is no room, and a client that listens
//! only to its session against one that asks for everything.
use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_protocol::fetch::{FetchTopicAnswer, ForgottenTopic, IsolationLevel};

use super::*;

const NAMES: [&str; 2] = ["a", "b"];

fn name(topic: usize) -> StrBytes {
    StrBytes::from_static_str(NAMES[topic])
}

fn partition(index: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        index,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: 100,
    }
}

fn request(id: i32, epoch: i32, asked: &[(usize, i32, i64)]) -> FetchRequest {
    let topics = asked.iter().map(|(topic, index, offset)| FetchTopic {
        name: name(*topic),
        topic_id: Uuid::nil(),
        partitions: vec![partition(*index, *offset)],
    });
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1000,
        isolation_level: IsolationLevel::ReadUncommitted,
        session_id: id,
        session_epoch: epoch,
        topics: topics.collect(),
        forgotten_topics: Vec::new(),
        rack_id: StrBytes::default(),
    }
}

fn forget(request: &mut FetchRequest, topic: usize, index: i32) {
    let (name, topic_id) = (name(topic), Uuid::nil());
    request.forgotten_topics.push(ForgottenTopic { name, topic_id, partitions: vec![index] });
}

/// A log as a fetch sees it: start, end, and the error that a read of it gives.
#[derive(Copy, Clone, Debug, Default)]
struct Log {
    start: i64,
    end: i64,
    error: i16,
}

type Logs = BTreeMap<(usize, i32), Log>;

/// Reads as a broker does; no more than `records_max` partitions give records.
fn read(logs: &Logs, request: &FetchRequest, mut records_max: usize) -> FetchAnswer {
    let topics = request.topics.iter().map(|asked| {
        let topic = NAMES.iter().position(|name| *name == asked.name.as_str()).expect("ours");
        let partitions = asked.partitions.iter().map(|one| {
            let log = logs[&(topic, one.index)];
            if log.error != 0 {
                return FetchPartitionAnswer::error(one.index, log.error);
            }
            let mut answer = FetchPartitionAnswer::error(one.index, 0);
            answer.high_watermark = log.end;
            answer.last_stable_offset = log.end;
            answer.log_start_offset = log.start;
            if one.fetch_offset < log.end && records_max > 0 {
                records_max -= 1;
                answer.records = vec![0].into();
            }
            answer
        });
        let partitions = partitions.collect();
        FetchTopicAnswer { name: asked.name.clone(), topic_id: asked.topic_id, partitions }
    });
    FetchAnswer { topics: topics.collect(), ..FetchAnswer::default() }
}

/// A request through the sessions and the logs, and the answer.
fn ask(
    sessions: &mut FetchSessions,
    logs: &Logs,
    mut request: FetchRequest,
    now_ms: i64,
    records_max: usize,
) -> FetchAnswer {
    let context = match sessions.open(&mut request, false, now_ms) {
        Ok(context) => context,
        Err(error) => return FetchAnswer { error_code: error.code(), ..FetchAnswer::default() },
    };
    let mut answer = read(logs, &request, records_max);
    let mut next_id = 0;
    let draw = || {
        next_id += 1;
        next_id
    };
    sessions.close(context, &request, &mut answer, (false, now_ms), draw);
    answer
}

fn told(answer: &FetchAnswer) -> Vec<(usize, i32)> {
    let topics = answer.topics.iter().flat_map(|topic| {
        let number = NAMES.iter().position(|name| *name == topic.name.as_str()).expect("ours");
        topic.partitions.iter().map(move |one| (number, one.index))
    });
    topics.collect()
}

fn logs(end: i64) -> Logs {
    let all = (0..2).flat_map(|topic| (0..3).map(move |index| (topic, index)));
    all.map(|key| (key, Log { end, ..Log::default() })).collect()
}

#[test]
fn a_session_tells_only_what_has_changed() {
    let (mut sessions, mut logs) = (FetchSessions::new(10), logs(0));
    let all = [(0, 0, 0), (0, 1, 0), (1, 0, 0)];
    let first = ask(&mut sessions, &logs, request(0, 0, &all), 0, 9);
    assert_eq!((first.session_id, told(&first).len()), (1, 3));
    let quiet = ask(&mut sessions, &logs, request(1, 1, &[]), 0, 9);
    assert_eq!((quiet.error_code, quiet.session_id, told(&quiet)), (0, 1, vec![]));
    logs.insert((0, 1), Log { end: 5, ..Log::default() });
    let grown = ask(&mut sessions, &logs, request(1, 2, &[]), 0, 9);
    assert_eq!(told(&grown), [(0, 1)]);
    let read_on = ask(&mut sessions, &logs, request(1, 3, &[(0, 1, 5)]), 0, 9);
    assert_eq!(told(&read_on), []);
    let mut last = request(1, 4, &[]);
    for (topic, index, _) in all {
        forget(&mut last, topic, index);
    }
    let ended = ask(&mut sessions, &logs, last, 0, 9);
    assert_eq!((ended.session_id, sessions.len(), sessions.partition_count()), (0, 0, 0));
}

#[test]
fn an_error_makes_the_end_be_told_again() {
    let (mut sessions, mut logs) = (FetchSessions::new(10), logs(7));
    ask(&mut sessions, &logs, request(0, 0, &[(0, 0, 7)]), 0, 9);
    logs.insert((0, 0), Log { end: 7, error: 6, start: 0 });
    for epoch in [1, 2] {
        assert_eq!(told(&ask(&mut sessions, &logs, request(1, epoch, &[]), 0, 9)), [(0, 0)]);
    }
    logs.insert((0, 0), Log { end: 7, ..Log::default() });
    assert_eq!(told(&ask(&mut sessions, &logs, request(1, 3, &[]), 0, 9)), [(0, 0)]);
    assert_eq!(told(&ask(&mut sessions, &logs, request(1, 4, &[]), 0, 9)), []);
}

#[test]
fn what_is_wrong_with_a_session_is_the_whole_answer() {
    let (mut sessions, logs) = (FetchSessions::new(10), logs(1));
    let codes = |answer: FetchAnswer| (answer.error_code, answer.topics.len());
    assert_eq!(codes(ask(&mut sessions, &logs, request(9, 1, &[]), 0, 9)), (70, 0));
    assert_eq!(codes(ask(&mut sessions, &logs, request(0, 1, &[]), 0, 9)), (70, 0));
    ask(&mut sessions, &logs, request(0, 0, &[(0, 0, 0)]), 0, 9);
    for epoch in [2, -2, i32::MAX] {
        assert_eq!(codes(ask(&mut sessions, &logs, request(1, epoch, &[]), 0, 9)), (71, 0));
    }
    let by_id = sessions.open(&mut request(1, 1, &[]), true, 0);
    assert_eq!(by_id, Err(ResponseError::FetchSessionTopicIdError));
    assert_eq!(codes(ask(&mut sessions, &logs, request(1, 1, &[]), 0, 9)), (0, 1));
    assert_eq!(codes(ask(&mut sessions, &logs, request(1, -1, &[]), 0, 9)), (0, 0));
    assert_eq!(codes(ask(&mut sessions, &logs, request(1, 2, &[]), 0, 9)), (70, 0));
}

#[test]
fn a_session_that_went_or_went_on_while_its_answer_was_made_is_told_so() {
    let (mut sessions, logs) = (FetchSessions::new(10), logs(1));
    ask(&mut sessions, &logs, request(0, 0, &[(0, 0, 0)]), 0, 9);
    let mut slow = request(1, 1, &[]);
    let context = sessions.open(&mut slow, false, 0).expect("the session goes on");
    ask(&mut sessions, &logs, request(1, 2, &[]), 0, 9);
    let mut answer = read(&logs, &slow, 9);
    sessions.close(context, &slow, &mut answer, (false, 0), || 1);
    assert_eq!((answer.error_code, answer.topics.len()), (71, 0));
    ask(&mut sessions, &logs, request(1, -1, &[]), 0, 9);
    let mut answer = read(&logs, &slow, 9);
    sessions.close(context, &slow, &mut answer, (false, 0), || 1);
    assert_eq!((answer.error_code, answer.topics.len()), (70, 0));
}

#[test]
fn epochs_begin_again_at_one() {
    let (mut sessions, logs) = (FetchSessions::new(10), logs(1));
    ask(&mut sessions, &logs, request(0, 0, &[(0, 0, 0)]), 0, 9);
    sessions.sessions.get_mut(&1).expect("it was begun").next_epoch = i32::MAX;
    for epoch in [i32::MAX, 1, 2] {
        assert_eq!(ask(&mut sessions, &logs, request(1, epoch, &[]), 0, 9).error_code, 0);
    }
}

#[test]
fn a_full_cache_gives_way_only_to_what_is_bigger_or_after_idle_time() {
    let (mut sessions, logs) = (FetchSessions::new(2), logs(1));
    let small = [(0, 0, 0)];
    let large = [(0, 0, 0), (0, 1, 0)];
    let mut begin = |asked: &[_], now_ms| {
        let answer = ask(&mut sessions, &logs, request(0, 0, asked), now_ms, 9);
        assert!(sessions.len() <= 2);
        assert_eq!(told(&answer).len(), asked.len(), "an answer is whole in any case");
        (answer.session_id, sessions.eviction_count(), sessions.partition_count())
    };
    assert_eq!(begin(&small, 0), (1, 0, 1));
    assert_eq!(begin(&large, 100_000), (2, 0, 3));
    assert_eq!(begin(&large, 120_000), (0, 0, 3), "neither idle nor old for long enough");
    assert_eq!(begin(&small, 120_001), (1, 1, 3), "the first was idle");
    assert_eq!(begin(&small, 200_000), (0, 1, 3));
    let kept = ask(&mut sessions, &logs, request(2, 1, &[]), 220_001, 9);
    assert_eq!(kept.error_code, 0);
    let kept = ask(&mut sessions, &logs, request(1, 1, &[]), 240_002, 9);
    assert_eq!(kept.error_code, 0);
    let same = ask(&mut sessions, &logs, request(0, 0, &small), 240_002, 9);
    assert_eq!(same.session_id, 0, "one of the same size stays");
    let bigger = ask(&mut sessions, &logs, request(0, 0, &large), 240_002, 9);
    assert_eq!((bigger.session_id, sessions.eviction_count()), (1, 2));
}

#[test]
fn no_more_partitions_are_kept_than_there_is_room_for() {
    let (mut sessions, logs) = (FetchSessions::new(10), logs(1));
    sessions.partitions_max = 3;
    let first = ask(&mut sessions, &logs, request(0, 0, &[(0, 0, 0), (0, 1, 0)]), 0, 9);
    let second = ask(&mut sessions, &logs, request(0, 0, &[(0, 0, 0), (0, 1, 0)]), 0, 9);
    assert_eq!((first.session_id, second.session_id), (1, 0));
    let more = [(1, 0, 0), (1, 1, 0)];
    let grown = ask(&mut sessions, &logs, request(1, 1, &more), 0, 9);
    assert_eq!((grown.error_code, sessions.len(), sessions.partition_count()), (70, 0, 0));
}

#[test]
fn a_busy_partition_starves_nobody() {
    let (mut sessions, logs) = (FetchSessions::new(10), logs(1_000));
    let all: Vec<_> = logs.keys().map(|(topic, index)| (*topic, *index, 0)).collect();
    let first = ask(&mut sessions, &logs, request(0, 0, &all), 0, 1);
    let mut fed = told(&first)[..1].to_vec();
    for epoch in 1..6 {
        fed.extend(told(&ask(&mut sessions, &logs, request(1, epoch, &[]), 0, 1)));
    }
    assert_eq!(fed, logs.keys().copied().collect::<Vec<_>>());
}

#[derive(Clone, Debug)]
enum Step {
    Grow(usize, i32),
    Trim(usize, i32),
    Fail(usize, i32),
    Heal(usize, i32),
    Add(usize, i32),
    Forget(usize, i32),
    Fetch(usize),
    /// The broker forgets the session.
    Lose,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (0..2_usize, 0..3_i32);
    let step = prop_oneof![
        3 => place().prop_map(|(topic, index)| Step::Grow(topic, index)),
        1 => place().prop_map(|(topic, index)| Step::Trim(topic, index)),
        1 => place().prop_map(|(topic, index)| Step::Fail(topic, index)),
        1 => place().prop_map(|(topic, index)| Step::Heal(topic, index)),
        2 => place().prop_map(|(topic, index)| Step::Add(topic, index)),
        1 => place().prop_map(|(topic, index)| Step::Forget(topic, index)),
        4 => (0..4_usize).prop_map(Step::Fetch),
        1 => Just(Step::Lose),
    ];
    prop::collection::vec(step, 1..80)
}

/// What a client believes of its partitions: error, start and end, and where it reads on.
#[derive(Default)]
struct Client {
    session: (i32, i32),
    wanted: BTreeMap<(usize, i32), i64>,
    /// What the session was last told, so that only changes are sent.
    sent: BTreeMap<(usize, i32), i64>,
    believed: BTreeMap<(usize, i32), (i16, i64, i64)>,
}

impl Client {
    fn request(&mut self) -> FetchRequest {
        let (id, epoch) = self.session;
        let sent = if epoch == 0 { BTreeMap::new() } else { self.sent.clone() };
        let news = self.wanted.iter().filter(|(key, offset)| sent.get(*key) != Some(*offset));
        let news: Vec<_> = news.map(|((topic, index), at)| (*topic, *index, *at)).collect();
        let mut request = request(id, epoch, &news);
        for (topic, index) in sent.keys().filter(|key| !self.wanted.contains_key(*key)) {
            forget(&mut request, *topic, *index);
        }
        self.sent = self.wanted.clone();
        request
    }

    fn take(&mut self, answer: &FetchAnswer) {
        if answer.error_code != 0 {
            self.session = (0, 0);
            return;
        }
        let epoch = self.session.1;
        self.session = if answer.session_id == 0 { (0, 0) } else { (answer.session_id, epoch + 1) };
        for topic in &answer.topics {
            let number = NAMES.iter().position(|name| *name == topic.name.as_str()).expect("ours");
            for one in &topic.partitions {
                let key = (number, one.index);
                let seen = (one.error_code, one.log_start_offset, one.high_watermark);
                self.believed.insert(key, seen);
                if !one.records.is_empty() {
                    *self.wanted.get_mut(&key).expect("only what is wanted is told") += 1;
                }
            }
        }
        self.believed.retain(|key, _| self.wanted.contains_key(key));
    }
}

proptest! {
    #[test]
    fn a_client_that_hears_changes_knows_as_much_as_one_that_hears_all(steps in steps()) {
        let mut logs = logs(0);
        let mut sessions = FetchSessions::new(1);
        let mut client = Client::default();
        for step in steps {
            match step {
                Step::Grow(topic, index) => logs.get_mut(&(topic, index)).expect("one").end += 1,
                Step::Trim(topic, index) => {
                    let log = logs.get_mut(&(topic, index)).expect("one");
                    log.start = log.end;
                }
                Step::Fail(topic, index) => logs.get_mut(&(topic, index)).expect("one").error = 6,
                Step::Heal(topic, index) => logs.get_mut(&(topic, index)).expect("one").error = 0,
                Step::Add(topic, index) => {
                    client.wanted.entry((topic, index)).or_insert(0);
                }
                Step::Forget(topic, index) => {
                    client.wanted.remove(&(topic, index));
                }
                Step::Lose => sessions.remove(client.session.0),
                Step::Fetch(records_max) => {
                    let mut answer = ask(&mut sessions, &logs, client.request(), 0, records_max);
                    if answer.error_code != 0 {
                        client.take(&answer);
                        answer = ask(&mut sessions, &logs, client.request(), 0, records_max);
                    }
                    prop_assert_eq!(answer.error_code, 0);
                    client.take(&answer);
                    let known: Vec<_> = client.wanted.keys().map(|key| {
                        let log = logs[key];
                        match log.error {
                            0 => (*key, (0, log.start, log.end)),
                            error => (*key, (error, -1, -1)),
                        }
                    }).collect();
                    prop_assert_eq!(client.believed.clone().into_iter().collect::<Vec<_>>(), known);
                    let kept: usize = sessions.sessions.values().map(|one| one.entries.len()).sum();
                    prop_assert_eq!(kept, sessions.partition_count());
                    let is_whole = sessions.sessions.values().all(|one| {
                        one.turns.len() == one.entries.len()
                            && one.turns.iter().all(|(turn, key)| one.entries[key].turn == *turn)
                    });
                    prop_assert!(is_whole);
                }
            }
        }
    }
}
