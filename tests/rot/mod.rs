//! Bit rot in every kind of file that the broker writes. One file of a whole data directory is
//! damaged, in each of five ways; then a broker opens it, and all that it serves is compared with
//! what was written.
//!
//! What must hold each time:
//! - no panic;
//! - what is served is what was written, at its offset (only the leader epoch, which no checksum
//!   covers, may be another within what the log knows);
//! - what was durable at the last checkpoint is served, or it is told that it is not: the start is
//!   refused with the file's name, the partition is damaged, or the read is refused;
//! - a derived file is made anew, or its damage is told of;
//! - `weir log check` tells of the file, unless it holds nothing that counts;
//! - once a damaged log is salvaged, it opens, and serves all but the offsets that were told lost.
mod directory;
mod served;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_broker::check::{Chosen, check, known, saved_topics};
use weir_broker::disk::Disk;
use weir_broker::log::check::{DirState, Kind, Report};
use weir_broker::log::dir::META;
use weir_broker::log::names::parse_folder;
use weir_broker::log::salvage::{Mode, salvage};

use crate::kit::disk::SimDisk;
use crate::rot::directory::{Stop, files, filled, open};
use crate::rot::served::{Outcome, Served, compare, compare_salvaged};

const PAGE_BYTES: usize = 512;
/// Only its name counts.
const MARK: &str = ".kafka_cleanshutdown";
const TRIALS: usize = 3000;
const SEED: u64 = 0x0b17_2077;

/// A way in which a file rots.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rot {
    Flip,
    Truncate,
    /// Two pages change places; of a file with one page, another's takes its place.
    Swap,
    /// One page is written over another.
    Duplicate,
    /// A sector is zeroes.
    Zero,
}

const ROTS: [Rot; 5] = [Rot::Flip, Rot::Truncate, Rot::Swap, Rot::Duplicate, Rot::Zero];

impl Rot {
    /// The damaged bytes. They may be the same by chance.
    fn of(self, bytes: &[u8], other: &[u8], chance: &mut StdRng) -> Vec<u8> {
        let mut rotten = bytes.to_vec();
        let page_count = bytes.len().div_ceil(PAGE_BYTES);
        let page = |chance: &mut StdRng| chance.random_range(0..page_count) * PAGE_BYTES;
        let one = page(chance);
        let one_end = bytes.len().min(one + PAGE_BYTES);
        match self {
            Rot::Flip => {
                let bit = chance.random_range(0..bytes.len() * 8);
                rotten[bit / 8] ^= 1 << (bit % 8);
            }
            Rot::Truncate => rotten.truncate(chance.random_range(0..bytes.len())),
            Rot::Zero => rotten[one..one_end].fill(0),
            Rot::Swap | Rot::Duplicate if page_count == 1 => {
                let count = bytes.len().min(other.len());
                rotten[..count].copy_from_slice(&other[..count]);
            }
            Rot::Swap | Rot::Duplicate => {
                let two = page(chance);
                let count = (one_end - one).min(bytes.len().min(two + PAGE_BYTES) - two);
                rotten[two..two + count].copy_from_slice(&bytes[one..one + count]);
                if self == Rot::Swap {
                    rotten[one..one + count].copy_from_slice(&bytes[two..two + count]);
                }
            }
        }
        rotten
    }
}

/// What kind of file a path is.
fn kind_of(path: &str) -> String {
    let Some((folder, name)) = path.rsplit_once('/') else { return path.to_owned() };
    let kind = name.split_once('.').map_or(name, |(_, kind)| kind);
    if kind != "log" {
        return if kind == "metadata" { name.to_owned() } else { format!("*.{kind}") };
    }
    format!("log of {}", folder.rsplit_once('-').map_or(folder, |(topic, _)| topic))
}

fn overwrite(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(path).unwrap();
    file.truncate(0).unwrap();
    file.write_at(0, &[bytes]).unwrap();
    file.sync().unwrap();
}

/// One damaged file; what came of it, or how a promise was broken.
fn trial(stop: &Stop, expected: &Served, path: &str, rotten: &[u8]) -> Result<Outcome, String> {
    let disk = stop.disk();
    overwrite(&disk, path, rotten);
    check_tells(&disk, path)?;
    if path.ends_with(".log") {
        let disk = stop.disk();
        overwrite(&disk, path, rotten);
        salvage_keeps_the_rest(&disk, expected, path)?;
    }
    let found = catch_unwind(AssertUnwindSafe(|| match open(&disk) {
        Ok(broker) => compare(expected, &broker, path),
        Err(error) => {
            let told = error.to_string();
            let name = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
            let topic = name.rsplit_once('-').map_or(name, |(topic, _)| topic);
            match told.contains(name) || told.contains(topic) {
                true => Ok(Outcome::Detected),
                false => Err(format!("the error does not name the file: {told}")),
            }
        }
    }));
    found.unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// The check tells of the file. Of a mark nobody reads what it says; one file has a comment, and may
/// be of a program that knew no checksum; and a leader epoch that fits is not known to be wrong.
fn check_tells(disk: &SimDisk, path: &str) -> Result<(), String> {
    let report = check(disk, &Chosen::default(), &mut |_| {}).map_err(|error| error.to_string())?;
    let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
    let is_told = report.problems.iter().any(|problem| problem.file.starts_with(folder));
    match is_told
        || path == MARK
        || path == META
        || path.ends_with(".log") && report.problems.is_empty()
    {
        true => Ok(()),
        false => Err(format!("the check does not tell of it, but of {:?}", report.problems)),
    }
}

/// A salvaged log opens undamaged, and serves all but what is told lost.
fn salvage_keeps_the_rest(disk: &SimDisk, expected: &Served, path: &str) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("salvage: {error}");
    let (folder, _) = path.split_once('/').expect("it lies in a folder");
    let log = parse_folder(folder).expect("of a partition");
    let mut report = Report::default();
    let state = DirState::read(disk, &mut report);
    let known = known(&state, saved_topics(disk, &mut report).as_ref(), &log);
    let before = disk.read(path).unwrap();
    let mended =
        salvage(disk, (&log.0, log.1), &known, Mode::Mend).map_err(|error| told(&error))?;
    for one in mended.iter().filter_map(|one| one.kept_as.as_ref()) {
        assert!(disk.read(one).unwrap() == before, "the damaged bytes are kept");
    }
    let lost: Vec<_> = mended.iter().flat_map(|one| one.lost.clone()).collect();
    let after = check(disk, &Chosen::default(), &mut |_| {}).map_err(|error| told(&error))?;
    if let Some(problem) = after.problems.iter().find(|problem| problem.kind == Kind::Damage) {
        return Err(format!("salvage left {problem}"));
    }
    let broker = open(disk).map_err(|error| told(&error))?;
    compare_salvaged(expected, &broker, &log, &lost).map_err(|how| told(&how))
}

#[test]
fn no_rotten_file_makes_the_broker_serve_what_was_not_written_or_lose_records_silently() {
    let seed = std::env::var("WEIR_ROT_SEED").map_or(SEED, |text| text.parse().unwrap());
    let trials = std::env::var("WEIR_ROT_TRIALS").map_or(TRIALS, |text| text.parse().unwrap());
    println!("seed {seed}, {trials} trials");
    let stops = filled();
    let expected: Vec<Served> =
        stops.iter().map(|stop| Served::of(&open(&stop.disk()).unwrap(), stop)).collect();
    for (stop, expected) in stops.iter().zip(&expected) {
        let again = compare(expected, &open(&stop.disk()).unwrap(), "no file");
        assert_eq!(again, Ok(Outcome::Harmless), "{}", stop.name);
    }
    let mut by_kind: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for (place, stop) in stops.iter().enumerate() {
        for (path, bytes) in files(&stop.disk()) {
            if !bytes.is_empty() {
                by_kind.entry(kind_of(&path)).or_default().push((place, path));
            }
        }
    }
    let mut counts: BTreeMap<(String, Rot), BTreeMap<Outcome, usize>> = BTreeMap::new();
    let mut broken = Vec::new();
    let mut chance = StdRng::seed_from_u64(seed);
    let kinds: Vec<&String> = by_kind.keys().collect();
    for number in 0..trials {
        let (kind, rot) = (kinds[number % kinds.len()], ROTS[number / kinds.len() % ROTS.len()]);
        let of_kind = &by_kind[kind];
        let (place, path) = &of_kind[chance.random_range(0..of_kind.len())];
        let bytes = stops[*place].disk().read(path).unwrap();
        // Of another kind: two files of one kind may be told apart by nothing but their place.
        let away = chance.random_range(1..kinds.len());
        let all = &by_kind[kinds[(number + away) % kinds.len()]];
        let other = stops[all[0].0].disk().read(&all[0].1).unwrap();
        let rotten = rot.of(&bytes, &other, &mut chance);
        let outcome = match rotten == bytes {
            true => Ok(Outcome::Unchanged),
            false => trial(&stops[*place], &expected[*place], path, &rotten),
        };
        match outcome {
            Ok(outcome) => {
                *counts.entry((kind.clone(), rot)).or_default().entry(outcome).or_default() += 1;
            }
            Err(how) => {
                let name = stops[*place].name;
                broken.push(format!("trial {number}: {rot:?} in {path} ({name}): {how}"));
            }
        }
    }
    print_table(&kinds, &counts);
    broken.iter().take(40).for_each(|line| println!("{line}"));
    assert!(broken.is_empty(), "{} of {trials} trials, seed {seed}", broken.len());
    for kind in kinds {
        let of_kind = counts.iter().filter(|((name, _), _)| name == kind);
        let told = of_kind.flat_map(|(_, outcomes)| outcomes);
        let count: usize =
            told.filter(|(outcome, _)| **outcome != Outcome::Unchanged).map(|(_, n)| n).sum();
        assert!(count > 0 || trials < 1000, "no trial of {kind}");
    }
}

/// Of each kind of file, by kind of damage: detected / harmless / tail.
fn print_table(kinds: &[&String], counts: &BTreeMap<(String, Rot), BTreeMap<Outcome, usize>>) {
    println!("detected / harmless / tail cut above the checkpoint");
    println!("{:<34} {}", "", ROTS.map(|rot| format!("{:>14}", format!("{rot:?}"))).concat());
    for kind in kinds {
        let cell = |rot: Rot| {
            let of = |outcome| {
                let found = counts.get(&((*kind).clone(), rot)).and_then(|it| it.get(&outcome));
                found.copied().unwrap_or(0)
            };
            let (detected, harmless) = (of(Outcome::Detected), of(Outcome::Harmless));
            format!("{:>14}", format!("{detected} / {harmless} / {}", of(Outcome::Tail)))
        };
        println!("{kind:<34} {}", ROTS.map(cell).concat());
    }
}
