//! How a table's life begins, whether it is the first or the one after a crash: read the newest
//! snapshot that is ours, see that the log is still the one it was folded from, agree on the
//! schema, and say from where on to fold.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use weir_protocol::records::Offset;
use weir_protocol::records::record::Record;
use weir_protocol::table::column::Column;
use weir_protocol::table::settings::TableSettings;

use crate::checkpoint::Checkpoint;
use crate::committer::Committer;
use crate::crash::seeded_bug;
use crate::decode::Decoder;
use crate::fold::{Fold, FoldLimits, FoldStart, SeededBug, next_sequences};
use crate::lineage::{LastBatch, Lineage, LogToday};
use crate::paimon::commit::FileEntry;
use crate::paimon::paths::TablePaths;
use crate::schema::TableSchema;
use crate::schema::evolution::evolve;
use crate::source::cluster::Cluster;
use crate::source::{self, Bounds, Source};
use crate::status::State;
use crate::table::fault::Fault;
use crate::table::flush::Writing;
use crate::table::intake::{DECOMPRESSED_BYTES_MAX, Intake};
use crate::table::report::Report;
use crate::table::shared::{Declared, Shared};

/// The user under whose name our snapshots stand.
pub const COMMIT_USER: &str = "weir";

const SAMPLE_RECORDS_MAX: usize = 1_000;
const SAMPLE_ANSWERS_MAX: u32 = 5;

/// A table that is ready to fold.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) writing: Writing,
    pub(super) intake: Intake,
    pub(super) live: Vec<FileEntry>,
    pub(super) source: Source,
    pub(super) bounds: BTreeMap<i32, Bounds>,
}

/// Opens a table at its newest snapshot; waits for records if it has to infer its columns.
pub(super) async fn open(
    shared: &Shared,
    declared: &Declared,
    report: &Report,
) -> Result<Opened, Fault> {
    let Declared { topic, topic_id, partitions, settings, .. } = declared;
    let name = &settings.name;
    let paths = TablePaths::new(&name.database, &name.table, Vec::new())?;
    let mut committer = Committer::open(shared.store.clone(), paths, COMMIT_USER).await?;
    if let Some(latest) = committer.latest() {
        // Said at once: whatever is wrong with the log, the table is there and can be read.
        report.snapshot(latest);
    }
    let lineage = committer.lineage()?.unwrap_or_else(|| Lineage {
        topic: topic.clone(),
        topic_id: *topic_id,
        partitions: BTreeMap::new(),
    });
    if lineage.topic != *topic {
        let held = &lineage.topic;
        return Err(Fault::Invalid(format!(
            "table.name={name}: this table was folded from topic {held}, not from {topic}"
        )));
    }
    lineage.check_topic(*topic_id)?;
    let cluster = shared.cluster.apart();
    let bounds = source::bounds(&cluster, topic, *topic_id, partitions).await?;
    let checkpoint = committer.checkpoint()?;
    check_log(&cluster, declared, &lineage, &checkpoint, &bounds).await?;
    agree_on_schema(shared, declared, report, &mut committer, &bounds).await?;
    let next = next_offsets(&checkpoint, &bounds);
    let (decoder, fold) = begin_fold(settings, &committer, lineage, next.clone()).await?;
    let epoch = committer.epoch()? + 1;
    let memory_bytes_max = shared.memory_share();
    let schema = schema_of(&committer)?;
    Ok(Opened {
        live: committer.live_files().await,
        intake: Intake::new(declared, memory_bytes_max, decoder, fold),
        source: Source::open(&cluster, topic, *topic_id, &next).await?,
        bounds,
        writing: Writing {
            store: shared.store.clone(),
            paths: committer.paths().clone(),
            schema,
            clock: Arc::clone(&shared.clock),
            committer: Arc::new(Mutex::new(committer)),
            epoch,
        },
    })
}

/// The newest schema of a table that has one.
pub(super) fn schema_of(committer: &Committer) -> Result<Arc<TableSchema>, Fault> {
    let newest = committer.schema().cloned().map(Arc::new);
    newest.ok_or_else(|| Fault::Defect("the table has no schema".into()))
}

/// Decoder and fold that go on at the given offsets, by the newest schema.
pub(super) async fn begin_fold(
    settings: &TableSettings,
    committer: &Committer,
    lineage: Lineage,
    next: BTreeMap<i32, Offset>,
) -> Result<(Decoder, Fold), Fault> {
    let schema = schema_of(committer)?;
    let decoder = Decoder::new(settings, &schema);
    let sequences = next_sequences(&committer.live_files().await);
    let limits = FoldLimits {
        memory_bytes_max: usize::try_from(settings.commit_bytes).unwrap_or(usize::MAX),
        age_ms_max: settings.commit_interval_ms,
    };
    let mut fold = Fold::new(schema, FoldStart { next, lineage, sequences }, limits)?;
    if seeded_bug("fold-from-next-offset") {
        fold.seed_bug(SeededBug::FoldsFromNextOffset);
    }
    Ok((decoder, fold))
}

/// Every partition goes on where the snapshot ends; one that was never folded begins at its start.
fn next_offsets(checkpoint: &Checkpoint, bounds: &BTreeMap<i32, Bounds>) -> BTreeMap<i32, Offset> {
    let next = |(partition, bounds): (&i32, &Bounds)| {
        (*partition, checkpoint.next_of(*partition).unwrap_or(bounds.start))
    };
    bounds.iter().map(next).collect()
}

/// Is each partition's log still the one that was folded, and does it go on where we stand?
async fn check_log(
    cluster: &Cluster,
    declared: &Declared,
    lineage: &Lineage,
    checkpoint: &Checkpoint,
    bounds: &BTreeMap<i32, Bounds>,
) -> Result<(), Fault> {
    let Declared { topic, topic_id, .. } = declared;
    for (partition, next) in &checkpoint.next {
        let Some(Bounds { start, end }) = bounds.get(partition).copied() else {
            return Err(Fault::Invalid(format!(
                "partition {partition} of topic {topic} was folded and is not there any more"
            )));
        };
        let held = lineage.partitions.get(partition);
        let in_log = held.filter(|held| held.last_offset >= start && held.last_offset < end);
        let batch = match in_log {
            None => None,
            Some(held) => {
                let offset = held.last_offset;
                source::batch_at(cluster, topic, *topic_id, *partition, offset).await?
            }
        };
        let batch = batch.map(|batch| LastBatch {
            base_offset: batch.header().base_offset,
            last_offset: batch.header().last_offset(),
            leader_epoch: batch.header().leader_epoch,
            crc: batch.header().crc,
        });
        let is_cleaned = declared.has_holes;
        let log = LogToday { log_start: start, log_end: end, batch, is_cleaned };
        lineage.check(*partition, *next, &log)?;
    }
    Ok(())
}

/// Makes the table, or sees that the one that is there is the one that was declared.
async fn agree_on_schema(
    shared: &Shared,
    declared: &Declared,
    report: &Report,
    committer: &mut Committer,
    bounds: &BTreeMap<i32, Bounds>,
) -> Result<(), Fault> {
    let settings = &declared.settings;
    let now_ms = shared.clock.now_ms();
    let Some(held) = committer.schema().cloned() else {
        let columns = match &settings.columns {
            Some(columns) => columns.clone(),
            None => infer(shared, declared, report, bounds).await?,
        };
        let partition_count = u32::try_from(declared.partitions.len()).unwrap_or(u32::MAX);
        let schema = TableSchema::from_settings(settings, &columns, partition_count, now_ms)?;
        // Partition columns of some types have no path; refused before anything is created.
        let columns = schema.partition_places().into_iter();
        let columns = columns.map(|place| schema.columns[place].clone()).collect();
        TablePaths::new(&settings.name.database, &settings.name.table, columns)
            .map_err(|error| Fault::Invalid(format!("table.partition.by: {error}")))?;
        return Ok(committer.create_table(&schema).await?);
    };
    check_same_table(settings, &held)?;
    if let Some(columns) = &settings.columns
        && let Some(mut next) = evolve(&held, columns)?
    {
        next.time_ms = now_ms;
        committer.add_schema(&next).await?;
    }
    Ok(())
}

/// What cannot change once a table is there.
fn check_same_table(settings: &TableSettings, held: &TableSchema) -> Result<(), Fault> {
    let differ = |key: &str, asked: String, held: String| {
        Err(Fault::Invalid(format!(
            "{key}={asked}: the table has {held}, which cannot change; choose another table.name"
        )))
    };
    let (asked, has) = (settings.primary_key.join(","), held.primary_keys.join(","));
    if asked != has {
        return differ("table.primary.key", asked, has);
    }
    let (asked, has) = (settings.partition_by.join(","), held.partition_keys.join(","));
    if asked != has {
        return differ("table.partition.by", asked, has);
    }
    let has = held.options.get("sequence.field").cloned().unwrap_or_default();
    let asked = settings.sequence_field.join(",");
    if asked != has {
        return differ("table.sequence.field", asked, has);
    }
    match settings.buckets {
        Some(asked) if i64::from(asked) != i64::from(held.bucket_count()) => {
            differ("table.buckets", asked.to_string(), held.bucket_count().to_string())
        }
        _ => Ok(()),
    }
}

/// Columns by the first records; waits until there are some that tell.
async fn infer(
    shared: &Shared,
    declared: &Declared,
    report: &Report,
    bounds: &BTreeMap<i32, Bounds>,
) -> Result<Vec<Column>, Fault> {
    report.status.update(|status| status.state = State::WaitingForRecords);
    let next = bounds.iter().map(|(partition, bounds)| (*partition, bounds.start)).collect();
    let Declared { topic, topic_id, settings, .. } = declared;
    let mut source = Source::open(&shared.cluster, topic, *topic_id, &next).await?;
    let mut sample: Vec<Record> = Vec::new();
    let mut answers_left = SAMPLE_ANSWERS_MAX;
    loop {
        let answer = source.next().await?;
        let is_empty = answer.batches.is_empty();
        for fetched in answer.batches {
            let batch = fetched.batch;
            let records = batch.check_crc().and_then(|()| batch.records(DECOMPRESSED_BYTES_MAX));
            let left = SAMPLE_RECORDS_MAX.saturating_sub(sample.len());
            sample.extend(records.into_iter().flatten().flatten().take(left));
        }
        if sample.is_empty() {
            continue;
        }
        answers_left = answers_left.saturating_sub(1);
        if !is_empty && answers_left > 0 && sample.len() < SAMPLE_RECORDS_MAX {
            continue;
        }
        let columns =
            Decoder::infer(settings, &sample).map_err(|error| Fault::Uninferred(error.reason))?;
        if !columns.is_empty() {
            return Ok(columns);
        }
        // None of them tells: the next ones may.
        sample.clear();
        answers_left = SAMPLE_ANSWERS_MAX;
    }
}
