//! Broker and compactor both die, each at a moment of its own: what one has promised to the other,
//! the next life of either keeps.

use rand::RngExt;

use crate::kill::compactor::Folding;
use crate::kill::{chance, moment};

const ROUNDS: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_and_compactor_killed_20_times_each_fold_each_record_once() {
    let mut chance = chance("both");
    let mut folding = Folding::begin(&mut chance, "40", "5").await;
    let writing = folding.writers.allow_steadily(1, 4);
    for _ in 0..ROUNDS {
        let mut compactor = folding.machine.compactor(&[]);
        moment(&mut chance, 100..800).await;
        if chance.random_bool(0.5) {
            folding.broker.kill().await;
            // Without the broker the compactor commits what it has, and tries again.
            moment(&mut chance, 1..150).await;
            compactor.kill().await;
        } else {
            compactor.kill().await;
            moment(&mut chance, 1..50).await;
            folding.broker.kill().await;
        }
        folding.broker = folding.machine.broker();
        folding.broker.ready().await;
        folding.machine.tell_ready();
        folding.check().await;
    }
    writing.abort();
    let told = folding.finish().await;
    println!("both: {ROUNDS} kills each; {told}");
}
