//! The broker dies a hundred times under idempotent producers, at any moment of its life: while it
//! recovers, while it rolls segments, while it makes and deletes topics.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::kill::clerk::Clerk;
use crate::kill::content::filler;
use crate::kill::history::Reading;
use crate::kill::machine::Machine;
use crate::kill::process::Process;
use crate::kill::writer::Writers;
use crate::kill::{chance, moment};

const KILLS: u32 = 120;
/// All is read back after so many kills.
const KILLS_BETWEEN_READS: u32 = 20;
const WRITERS: u32 = 4;
/// What may be sent at once shortly before the end of a life, so that it ends in full swing.
const BURST_BATCHES: usize = 100;
/// How long a life may take once the broker is ready.
const LIFE_MS: std::ops::Range<u64> = 10..250;
const BURST_MS: std::ops::Range<u64> = 0..8;
/// Of how many lives one is to end before the broker is ready.
const EARLY_ONE_IN: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_120_times_loses_nothing_doubles_nothing_and_takes_nothing_back() {
    let mut chance = chance("broker");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (machine, began) = (Machine::new(&mut chance, folder), Instant::now());
    let mut broker = machine.broker();
    broker.ready().await;
    let topic_id = machine.create_topic(&[]).await;
    let reading = Reading::new(&machine, topic_id, filler);
    let mut writers = Writers::start(&machine, WRITERS, filler, &mut chance);
    let (finish, finished) = watch::channel(false);
    let follower = reading.clone().follow(machine.lives(), finished, chance.random());
    let follower = tokio::spawn(follower);
    let mut clerk = Clerk::default();
    machine.tell_ready();
    let writing = writers.allow_steadily(1, 2);
    let (mut early, mut starts) = (0, Vec::new());
    for kill in 1..=KILLS {
        let client = machine.client().await;
        tokio::select! {
            lost = clerk.work(&client) => panic!("the broker lives: {lost}"),
            () = async {
                moment(&mut chance, LIFE_MS).await;
                writers.allow(BURST_BATCHES);
                moment(&mut chance, BURST_MS).await;
            } => {}
        }
        broker.kill().await;
        broker = revived(&machine, &mut chance);
        while chance.random_ratio(1, EARLY_ONE_IN) {
            let longest: Duration = starts.iter().max().copied().unwrap_or_default();
            let within_ms = 1..longest.as_millis().max(2) as u64;
            tokio::select! {
                () = broker.ready() => {}
                () = moment(&mut chance, within_ms) => early += 1,
            }
            broker.kill().await;
            broker = revived(&machine, &mut chance);
        }
        let started = Instant::now();
        broker.ready().await;
        starts.push(started.elapsed());
        assert!(!follower.is_finished(), "the follower has failed");
        clerk.check(&machine.client().await).await.expect("the broker lives");
        machine.tell_ready();
        if kill % KILLS_BETWEEN_READS == 0 {
            reading.read_all().await;
            let history = reading.history.lock().await;
            history.check_order();
        }
        writers.acknowledged();
    }
    writing.abort();
    let sent = writers.finish().await;
    finish.send_replace(true);
    follower.await.expect("the follower found nothing wrong");
    reading.read_all().await;
    broker.stop().await;
    let mut broker = machine.broker();
    broker.ready().await;
    reading.read_all().await;
    broker.stop().await;
    let history = reading.history.lock().await;
    history.check_complete(&sent);
    history.check_acknowledged(writers.acknowledged());
    let repeated = writers.acknowledged().iter().filter(|one| one.is_repeated).count();
    let slowest = starts.iter().max().copied().unwrap_or_default();
    println!(
        "broker: {} kills, {early} before it was ready; {} records in {} batches, {repeated} of \
         them sent again; {} records read again; {} looks at topics; ready in {:?} at most; {:.1} s",
        KILLS + early,
        history.record_count(),
        writers.acknowledged().len(),
        history.read_again,
        clerk.kept,
        slowest,
        began.elapsed().as_secs_f64(),
    );
    assert!(early > 0 && repeated > 100, "too little was tried");
}

/// The broker's next life, with one of the ways to read and to promise.
fn revived(machine: &Machine, chance: &mut StdRng) -> Process {
    let settings = [
        ["read.mode=mmap", "read.mode=pread"][chance.random_range(0..2)],
        // Without a sync, too, what was acknowledged outlives the process.
        if chance.random_ratio(1, 5) { "log.durability=os" } else { "log.durability=fsync" },
    ];
    machine.broker_with(&settings)
}
