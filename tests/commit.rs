//! Commits, whatever breaks: at every snapshot that anybody can see, the table holds each offset
//! below its checkpoint exactly once, and no file that a snapshot names is missing.
//!
//! The store fails at every single operation, the power is cut after every single act on files,
//! the process dies at every named step, committers race. And the test of these tests: bugs that
//! are seeded on purpose are noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use object_store::memory::InMemory;
use weir_compactor::checkpoint::Misfit;
use weir_compactor::committer::{CommitError, Committer};
use weir_compactor::crash::CRASH_POINTS;
use weir_compactor::paimon::commit::{Change, Conflict};
use weir_compactor::paimon::snapshot::Snapshot;
use weir_compactor::store::{Journal, LocalFiles, Store, StoreError};

use crate::kit::folder;
use crate::kit::store::{DiskImage, FAULTS, Fault, FaultyStore, Unsynced, contents};
use crate::kit::toy_table::{
    ToyCompactor, check_from, check_retained, check_snapshot, lineage_at, paths,
};

/// How far the scripted run folds each partition.
const SCRIPT_END: i64 = 50;
/// How far where the run is repeated for each of its operations: two compactions, an expiry.
const SHORT_END: i64 = 30;

fn memory() -> Store {
    Store::of_objects(Arc::new(InMemory::new()))
}

fn open_folder(folder: &Path) -> Store {
    Store::open(folder.to_str().expect("a readable path")).expect("a store in the folder")
}

#[tokio::test]
async fn the_scripted_run_folds_every_offset_once_and_keeps_three_snapshots() {
    let store = memory();
    let mut compactor = ToyCompactor::open(store.clone()).await.unwrap();
    compactor.run(SCRIPT_END).await.unwrap();
    assert_eq!(compactor.next(), [(0, SCRIPT_END), (1, SCRIPT_END)].into());
    let newest = check_from(store.clone(), 0).await.unwrap();
    assert_eq!(newest, 13); // ten flushes and three compactions
    let ids = compactor.committer.files().snapshot_ids().await.unwrap();
    assert!(ids.len() < 13 && ids[0] > 1, "{ids:?}");
    assert_eq!(store.get("default.db/toy/snapshot/LATEST").await.unwrap(), "13");
    let earliest = store.get("default.db/toy/snapshot/EARLIEST").await.unwrap();
    assert_eq!(earliest, ids[0].to_string());
}

#[tokio::test]
async fn every_snapshot_is_complete_whatever_operation_of_the_store_fails() {
    for fault in FAULTS {
        let mut fault_at = 0;
        loop {
            fault_at += 1;
            let inner = Arc::new(InMemory::new());
            let faulty = FaultyStore::new(inner.clone(), fault, fault_at);
            let told = |error: String| format!("{fault:?} at operation {fault_at}: {error}");
            run_until_broken(Store::of_objects(faulty.clone()), SHORT_END).await;
            // The compactor starts again, on a store that works.
            let sound = Store::of_objects(inner);
            let newest = check_retained(sound.clone()).await.map_err(told).unwrap();
            let mut next_life = ToyCompactor::open(sound.clone()).await.unwrap();
            next_life.run(SHORT_END).await.unwrap();
            check_from(sound, newest + 1).await.map_err(told).unwrap();
            if !faulty.has_failed() {
                break;
            }
        }
        assert!(fault_at > 100, "the run has only {fault_at} operations");
    }
}

/// Runs the script; whatever fails is tried again by the same committer, some three times.
async fn run_until_broken(store: Store, until: i64) {
    let Ok(mut compactor) = ToyCompactor::open(store).await else { return };
    for _ in 0..3 {
        match compactor.run(until).await {
            Ok(()) => return,
            Err(_) => {
                if compactor.committer.reload().await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_again_and_not_refused() {
    for fault_at in 1..200 {
        let inner = Arc::new(InMemory::new());
        let faulty = FaultyStore::new(inner.clone(), Fault::AnswerLost, fault_at);
        let store = Store::of_objects(faulty.clone());
        let Ok(mut compactor) = ToyCompactor::open(store).await else { continue };
        let Ok(change) = compactor.flush().await else { continue };
        let first = compactor.committer.commit(change.clone()).await;
        let was_before = !faulty.has_failed();
        match first {
            Ok(snapshot) => assert_eq!(snapshot.id, 1),
            // Whatever the error was, the same change may be given again.
            Err(_) => assert_eq!(compactor.committer.commit(change).await.unwrap().id, 1),
        }
        assert_eq!(check_from(Store::of_objects(inner), 0).await.unwrap(), 1);
        if was_before {
            return;
        }
    }
    panic!("the fault never came after the commit");
}

/// Runs the script on local files and cuts the power after every act: an error if any snapshot is
/// broken then, or one that was reported as committed is gone.
async fn cut_power_everywhere(without_folder_sync: bool) -> Result<usize, String> {
    let folder = folder::quick();
    let root = folder.path().canonicalize().unwrap();
    let journal = Arc::new(Journal::default());
    let mut files = LocalFiles::open(&root).unwrap().with_journal(Arc::clone(&journal));
    if without_folder_sync {
        files = files.without_folder_sync();
    }
    let mut compactor = ToyCompactor::open(Store::of_local(files)).await.unwrap();
    // Number of acts when a commit was reported, and how far it had folded.
    let mut reported = vec![(0, 0)];
    for until in (5..=SHORT_END).step_by(5) {
        compactor.run(until).await.unwrap();
        reported.push((journal.acts().len(), until));
    }
    let acts = journal.acts();
    let mut image = DiskImage::default();
    let mut known = BTreeMap::new();
    for (done, act) in acts.iter().enumerate() {
        image.follow(act);
        let chance = Unsynced::Chance(done as u64);
        for unsynced in [Unsynced::Lost, Unsynced::Kept, chance] {
            let told = |error| format!("after {done} acts, {unsynced:?}, {act:?}: {error}");
            let left = image.after_power_cut(&root, unsynced).await;
            // Many acts change nothing of what is left; what was checked before is known.
            let key = contents(left.as_ref()).await;
            let folded = match known.get(&key) {
                Some(folded) => *folded,
                None => {
                    let store = Store::of_objects(left);
                    check_retained(store.clone()).await.map_err(told)?;
                    let folded = ToyCompactor::open(store).await.unwrap().next()[&0];
                    known.insert(key, folded);
                    folded
                }
            };
            let promised = reported.iter().rfind(|(acts, _)| *acts <= done + 1).unwrap().1;
            if folded < promised {
                return Err(told(format!("folded to {folded}, but {promised} was reported")));
            }
        }
    }
    Ok(acts.len())
}

#[tokio::test]
async fn a_power_cut_after_any_act_leaves_whole_snapshots_and_all_that_were_reported() {
    let acts = cut_power_everywhere(false).await.unwrap();
    assert!(acts > 300, "the run has only {acts} acts");
}

#[tokio::test]
async fn a_store_that_does_not_sync_folders_is_noticed() {
    let error = cut_power_everywhere(true).await.unwrap_err();
    // Which name is lost first hangs on chance: a reported snapshot's, or one that a snapshot needs.
    assert!(error.contains("reported") || error.contains("does not exist"), "{error}");
}

#[tokio::test]
async fn of_two_who_fold_the_same_offsets_the_second_is_refused() {
    let store = memory();
    let mut ada = ToyCompactor::open(store.clone()).await.unwrap();
    let mut bob = ToyCompactor::open(store.clone()).await.unwrap();
    let (of_ada, of_bob) = (ada.flush().await.unwrap(), bob.flush().await.unwrap());
    ada.committer.commit(of_ada).await.unwrap();
    let outcome = bob.committer.commit(of_bob).await.map(|snapshot| snapshot.id);
    let overlap = Conflict::Misfit(Misfit::Overlap {
        partition: 0,
        next: weir_protocol::records::Offset(5),
        from: weir_protocol::records::Offset(0),
    });
    assert_eq!(outcome.unwrap_err().to_string(), CommitError::Conflict(overlap).to_string());
    assert_eq!(check_from(store, 0).await.unwrap(), 1);
}

/// A snapshot that was reported as committed is there, as it was reported: an error if it is lost.
async fn check_reported(store: &Store, reported: &[Snapshot]) -> Result<(), String> {
    let committer = Committer::open(store.clone(), paths(), "weir").await.unwrap();
    for snapshot in reported {
        let found = committer.files().snapshot_if_there(snapshot.id).await.unwrap();
        if found.as_ref() != Some(snapshot) {
            let id = snapshot.id;
            return Err(format!("snapshot {id} was reported as committed, and is lost: {found:?}"));
        }
    }
    Ok(())
}

/// Two compactors on one table of local files, two threads that try to make the next snapshot at
/// the same moment, again and again: both fold the same offsets, or one folds and one compacts.
/// What each was told is committed must be there, and every snapshot must be whole. How many
/// commits there were.
fn race_for_snapshots(rounds: usize, replaces: bool) -> Result<usize, String> {
    let folder = folder::quick();
    let together = Barrier::new(2);
    let run = |racer: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let opened = runtime.block_on(ToyCompactor::open(open_folder(folder.path())));
        let mut compactor = opened.unwrap();
        if replaces {
            compactor.committer.commit_by_replace();
        }
        let mut outcomes = Vec::new();
        for round in 0..rounds {
            let folds = racer == 0 || round % 2 == 0;
            together.wait();
            let change = runtime.block_on(next_change(&mut compactor, folds));
            // Both have read the same newest snapshot now.
            together.wait();
            outcomes.push(match change {
                Ok(change) => runtime.block_on(compactor.committer.commit(change)),
                Err(error) => Err(error),
            });
        }
        outcomes
    };
    let outcomes = std::thread::scope(|scope| {
        let racers = [0, 1].map(|racer| scope.spawn(move || run(racer)));
        racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
    });
    let (mut reported, mut failed) = (Vec::new(), Ok(()));
    for outcome in outcomes {
        match outcome {
            Ok(snapshot) => reported.push(snapshot),
            // Of two that fold the same offsets one has to give way.
            Err(CommitError::Conflict(_)) => {}
            Err(error) => failed = Err(error.to_string()),
        }
    }
    let store = open_folder(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(check_reported(&store, &reported))?;
    runtime.block_on(check_from(store, 0))?;
    failed.map(|()| reported.len())
}

/// The next flush or compaction after all that is committed.
async fn next_change(compactor: &mut ToyCompactor, folds: bool) -> Result<Change, CommitError> {
    compactor.committer.reload().await?;
    if folds { compactor.flush().await } else { compactor.compaction(0).await }
}

#[test]
fn of_two_compactors_that_race_for_every_snapshot_neither_loses_one() {
    let rounds = 200;
    let commits = race_for_snapshots(rounds, false).unwrap();
    // Of two that fold, one gives way; a compaction that is late is planned again.
    assert!(commits > rounds + rounds / 4, "{commits} commits in {rounds} rounds");
    println!("{rounds} races for a snapshot, {commits} commits, none lost");
}

#[test]
fn the_suite_sees_a_commit_that_replaces_a_snapshot() {
    let error = race_for_snapshots(20, true).unwrap_err();
    assert!(error.contains("was reported as committed, and is lost"), "{error}");
    race_for_snapshots(20, false).unwrap();
}

#[tokio::test]
async fn a_fold_that_a_replacing_compaction_wipes_out_is_seen_as_lost() {
    for replaces in [false, true] {
        // Given two at the same snapshot, one about to fold, one to compact.
        let store = memory();
        let mut ada = ToyCompactor::open(store.clone()).await.unwrap();
        ada.run(10).await.unwrap();
        let mut bob = ToyCompactor::open(store.clone()).await.unwrap();
        if replaces {
            bob.committer.commit_by_replace();
        }
        let compaction = bob.compaction(1).await.unwrap();
        let flush = ada.flush().await.unwrap();
        // When both commit.
        let folded = ada.committer.commit(flush).await.unwrap();
        let compacted = bob.committer.commit(compaction).await.unwrap();
        let next = ToyCompactor::open(store.clone()).await.unwrap().next()[&0];
        let checked = check_reported(&store, &[folded, compacted]).await;
        // Then the offsets that were reported as folded are in the table, or their loss is seen.
        let lost = checked.as_ref().is_err_and(|error| error.contains("is lost"));
        assert_eq!((next, lost), if replaces { (10, true) } else { (15, false) }, "{checked:?}");
    }
}

#[tokio::test]
async fn a_compaction_that_loses_the_race_is_planned_again_and_kept() {
    let store = memory();
    let mut compactor = ToyCompactor::open(store.clone()).await.unwrap();
    compactor.run(10).await.unwrap();
    let mut other = ToyCompactor::open(store.clone()).await.unwrap();
    let compaction = other.compaction(1).await.unwrap();
    let flush = compactor.flush().await.unwrap();
    compactor.committer.commit(flush).await.unwrap();
    let snapshot = other.committer.commit(compaction.clone()).await.unwrap();
    assert_eq!(snapshot.id, 4);
    assert_eq!(snapshot.checkpoint().unwrap(), compactor.committer.checkpoint().unwrap());
    check_from(store.clone(), 0).await.unwrap();
    // Its files are gone now: the same compaction again is refused, and leaves nothing behind.
    let before = manifests_of(&store).await;
    let again = compactor.committer.commit(compaction).await;
    assert!(matches!(again, Err(CommitError::Conflict(Conflict::NotLive { .. }))), "{again:?}");
    assert_eq!(manifests_of(&store).await, before);
}

async fn manifests_of(store: &Store) -> BTreeSet<String> {
    let listed = store.list(&paths().folder("manifest")).await.unwrap();
    listed.into_iter().map(|file| file.path).collect()
}

#[tokio::test]
async fn a_compactor_of_an_older_epoch_is_fenced_off() {
    let store = memory();
    let mut old = ToyCompactor::open(store.clone()).await.unwrap();
    old.run(5).await.unwrap();
    let mut new = ToyCompactor::open(store.clone()).await.unwrap();
    new.run(10).await.unwrap();
    old.committer.reload().await.unwrap(); // the offsets would fit
    let late = old.flush().await.unwrap();
    let outcome = old.committer.commit(late).await;
    assert!(matches!(outcome, Err(CommitError::Conflict(Conflict::Fenced { .. }))), "{outcome:?}");
    assert_eq!(check_from(store, 0).await.unwrap(), 2);
}

#[tokio::test]
async fn a_topic_made_anew_is_refused() {
    let store = memory();
    let mut compactor = ToyCompactor::open(store.clone()).await.unwrap();
    compactor.run(5).await.unwrap();
    let mut change = compactor.flush().await.unwrap();
    let mut other = lineage_at(&compactor.next());
    other.topic_id = uuid::Uuid::from_u128(2);
    change.progress.as_mut().unwrap().lineage = other;
    let outcome = compactor.committer.commit(change).await;
    assert!(matches!(outcome, Err(CommitError::Conflict(Conflict::Stranger(_)))), "{outcome:?}");
}

#[test]
#[should_panic(expected = "folded + quarantined + skipped = span")]
fn a_flush_that_loses_count_of_a_record_stops_the_program() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut compactor = ToyCompactor::open(memory()).await.unwrap();
        let mut change = compactor.flush().await.unwrap();
        change.progress.as_mut().unwrap().folded -= 1;
        drop(compactor.committer.commit(change).await);
    });
}

/// Puts `rounds` files, each at the same time as all other racers; returns those it won.
fn race(store: &Store, racer: &str, rounds: usize, together: Option<&Barrier>) -> Vec<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut won = Vec::new();
    for round in 0..rounds {
        if let Some(together) = together {
            together.wait();
        }
        let content = Bytes::from(format!("{racer} in round {round}"));
        match runtime.block_on(store.put_new(&format!("race/snapshot-{round}"), content)) {
            Ok(()) => won.push(round),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    won
}

fn assert_one_winner_each(store: &Store, winners: &[(String, Vec<usize>)], rounds: usize) {
    let mut winner_of = vec![None; rounds];
    for (racer, won) in winners {
        for round in won {
            assert_eq!(winner_of[*round].replace(racer), None, "two winners of round {round}");
        }
    }
    for (round, winner) in winner_of.iter().enumerate() {
        let winner = winner.unwrap_or_else(|| panic!("nobody won round {round}"));
        let content = store.get_blocking(&format!("race/snapshot-{round}")).unwrap();
        assert_eq!(content, format!("{winner} in round {round}"));
    }
}

#[test]
fn of_many_threads_that_put_the_same_snapshot_one_wins_each_of_8000_races() {
    let folder = folder::quick();
    let barrier = Barrier::new(3);
    let rounds = 8000;
    let racers: Vec<String> = (0..3).map(|racer| format!("thread {racer}")).collect();
    let winners: Vec<(String, Vec<usize>)> = std::thread::scope(|scope| {
        let start = |racer: &String| {
            let (racer, store, barrier) = (racer.clone(), open_folder(folder.path()), &barrier);
            scope.spawn(move || (racer.clone(), race(&store, &racer, rounds, Some(barrier))))
        };
        let running: Vec<_> = racers.iter().map(start).collect();
        running.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_one_winner_each(&open_folder(folder.path()), &winners, rounds);
}

#[test]
fn of_many_processes_that_put_the_same_snapshot_one_wins_each_of_2000_races() {
    let folder = folder::quick();
    let children: Vec<_> = (0..3)
        .map(|racer| child(folder.path(), &format!("race {racer}")).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let won_by = |racer: usize| {
        let told = std::fs::read(folder.path().join(format!("won-{racer}"))).unwrap();
        (format!("process {racer}"), serde_json::from_slice(&told).unwrap())
    };
    let winners: Vec<(String, Vec<usize>)> = (0..3).map(won_by).collect();
    assert_one_winner_each(&open_folder(folder.path()), &winners, 2000);
}

/// This very test binary again, as a process of its own that does `task` in a folder.
fn child(folder: &Path, task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "commit::a_child_does_its_task", "--nocapture"]);
    command.env("WEIR_TEST_TASK", task).env("WEIR_TEST_FOLDER", folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_child_does_its_task() {
    let Ok(task) = std::env::var("WEIR_TEST_TASK") else { return };
    let folder = std::env::var("WEIR_TEST_FOLDER").unwrap();
    let store = open_folder(Path::new(&folder));
    if let Some(racer) = task.strip_prefix("race ") {
        let won = race(&store, &format!("process {racer}"), 2000, None);
        let told = Path::new(&folder).join(format!("won-{racer}"));
        std::fs::write(told, serde_json::to_vec(&won).unwrap()).unwrap();
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut compactor = ToyCompactor::open(store).await.unwrap();
        compactor.run(SCRIPT_END).await.unwrap();
        if task == "run and clear" {
            compactor.committer.remove_orphans(i64::MAX, 0).await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_process_that_dies_at_any_named_step_leaves_whole_snapshots() {
    for point in CRASH_POINTS {
        for pass in [1, 2, 7] {
            let folder = folder::quick();
            let mut dying = child(folder.path(), "run and clear");
            if *point == "orphans.file-deleted" {
                // Something to clear: what a life before left behind.
                let mut before = child(folder.path(), "run");
                before.env("WEIR_CRASH_AT", "commit.before-snapshot:3").status().unwrap();
            }
            let died = dying.env("WEIR_CRASH_AT", format!("{point}:{pass}")).status().unwrap();
            let told = |error: String| format!("{point}, pass {pass}: {error}");
            assert!(pass > 1 || !died.success(), "{point} was never passed");
            let store = open_folder(folder.path());
            check_retained(store.clone()).await.map_err(told).unwrap();
            let mut next_life = ToyCompactor::open(store.clone()).await.unwrap();
            next_life.run(SCRIPT_END).await.unwrap();
            check_from(store, 0).await.map_err(told).unwrap();
        }
    }
}

#[tokio::test]
async fn clearing_up_takes_all_orphans_and_nothing_that_is_named() {
    let inner = Arc::new(InMemory::new());
    let sound = Store::of_objects(inner.clone());
    // Lives that were cut short leave files behind.
    for fault_at in [15, 30, 45, 60, 90] {
        let faulty = FaultyStore::new(inner.clone(), Fault::PowerCut, fault_at);
        run_until_broken(Store::of_objects(faulty), SCRIPT_END).await;
    }
    sound.put_new("default.db/toy/bucket-0/.data-x.parquet.1.tmp", Bytes::new()).await.unwrap();
    sound.put_new("default.db/toy/bucket-0/notes.txt", Bytes::new()).await.unwrap();
    let mut compactor = ToyCompactor::open(sound.clone()).await.unwrap();
    // An expiry that was cut short is ended first, as the janitor does.
    compactor.committer.expire(i64::MAX / 2, 6_000, 3).await.unwrap();
    let fresh = compactor.committer.remove_orphans(i64::MAX / 2, u64::MAX).await.unwrap();
    assert_eq!(fresh.files, 0, "nothing is old");
    let before = contents(inner.as_ref()).await;
    let report = compactor.committer.remove_orphans(i64::MAX, 0).await.unwrap();
    let after = contents(inner.as_ref()).await;
    assert!(report.files > 2, "{report:?}");
    assert_eq!(before.len() - after.len(), report.files);
    assert!(after.contains_key("default.db/toy/bucket-0/notes.txt"), "nobody knows what it is");
    assert!(!after.keys().any(|path| path.ends_with(".tmp")));
    check_retained(sound.clone()).await.unwrap();
    let again = compactor.committer.remove_orphans(i64::MAX, 0).await.unwrap();
    assert_eq!(again.files, 0);
    compactor.committer.reload().await.unwrap();
    compactor.run(SCRIPT_END).await.unwrap();
    check_from(sound, 0).await.unwrap();
}

#[tokio::test]
async fn tags_and_readers_hold_their_snapshots_and_files_back() {
    let store = memory();
    let mut compactor = ToyCompactor::open(store.clone()).await.unwrap();
    compactor.run(20).await.unwrap();
    let first = compactor.committer.files().snapshot_ids().await.unwrap()[0];
    let tagged = store.get(&paths().snapshot(first)).await.unwrap();
    store.put_new("default.db/toy/tag/tag-keep", tagged).await.unwrap();
    let reader = Bytes::from(format!("{{\"nextSnapshot\":{}}}", first + 1));
    store.put_new("default.db/toy/consumer/consumer-flink", reader).await.unwrap();
    compactor.run(60).await.unwrap();
    let ids = compactor.committer.files().snapshot_ids().await.unwrap();
    assert_eq!(ids[0], first + 1, "the reader still needs it");
    store.delete("default.db/toy/consumer/consumer-flink").await.unwrap();
    compactor.run(100).await.unwrap();
    compactor.committer.remove_orphans(i64::MAX, 0).await.unwrap();
    assert!(compactor.committer.files().snapshot_ids().await.unwrap()[0] > first + 1);
    // The tag's snapshot is gone, but put back by hand it is whole: all its files are there.
    let tagged = store.get("default.db/toy/tag/tag-keep").await.unwrap();
    store.put_new(&paths().snapshot(first), tagged).await.unwrap();
    check_snapshot(&compactor.committer, first).await.unwrap();
}

#[tokio::test]
async fn wrong_and_torn_hints_are_not_believed() {
    for hint in ["", "999", "1", "-3", "4x", "99999999999999999999999"] {
        let store = memory();
        let mut compactor = ToyCompactor::open(store.clone()).await.unwrap();
        compactor.run(15).await.unwrap();
        for name in ["LATEST", "EARLIEST"] {
            let path = format!("default.db/toy/snapshot/{name}");
            store.put(&path, Bytes::from(hint)).await.unwrap();
        }
        let mut next_life = ToyCompactor::open(store.clone()).await.unwrap();
        assert_eq!(next_life.next()[&0], 15, "{hint:?}");
        next_life.run(25).await.unwrap();
        check_from(store, 0).await.unwrap();
    }
}

#[tokio::test]
async fn damage_to_any_metadata_file_is_an_error_that_names_it_and_never_a_panic() {
    let inner = Arc::new(InMemory::new());
    let store = Store::of_objects(inner.clone());
    ToyCompactor::open(store.clone()).await.unwrap().run(10).await.unwrap();
    for (path, sound) in contents(inner.as_ref()).await {
        let is_metadata = ["/manifest/", "/snapshot/snapshot-", "/schema/"];
        if !is_metadata.iter().any(|part| path.contains(part)) {
            continue;
        }
        let mut damaged = vec![Bytes::new(), sound.slice(..sound.len() / 2)];
        damaged.extend((0..sound.len()).step_by(7).map(|place| {
            let mut bytes = sound.to_vec();
            bytes[place] ^= 0x55;
            Bytes::from(bytes)
        }));
        for (number, bytes) in damaged.into_iter().enumerate() {
            store.put(&path, bytes).await.unwrap();
            let opened = Committer::open(store.clone(), paths(), "weir").await;
            if number < 2 && path.contains("snapshot-2") {
                let error = opened.unwrap_err().to_string();
                assert!(error.contains(&path), "{path}: {error}");
            }
        }
        store.put(&path, sound).await.unwrap();
    }
    assert_eq!(check_from(store, 0).await.unwrap(), 2);
}

#[tokio::test]
async fn snapshots_of_others_keep_our_progress_and_are_kept_by_it() {
    let store = memory();
    let mut compactor = ToyCompactor::open(store.clone()).await.unwrap();
    compactor.run(5).await.unwrap();
    // Another engine compacts: its snapshot has none of our properties.
    let mut other = Committer::open(store.clone(), paths(), "flink").await.unwrap();
    let compaction = compactor.compaction(0).await.unwrap();
    let foreign = other.commit(compaction).await.unwrap();
    assert!(foreign.properties.is_empty());
    let mut next_life = ToyCompactor::open(store.clone()).await.unwrap();
    assert_eq!(next_life.next()[&0], 5);
    next_life.run(10).await.unwrap();
    assert_eq!(next_life.next()[&0], 10);
    check_snapshot(&next_life.committer, 3).await.unwrap();
    // When nothing of ours is left, folding on would fold everything twice: that is refused.
    for id in [1, 3] {
        store.delete(&paths().snapshot(id)).await.unwrap();
    }
    let lost = ToyCompactor::open(store).await.map(drop);
    assert!(matches!(lost, Err(CommitError::ProgressLost { oldest: 2 })), "{lost:?}");
}
