//! Which tables there are: asks the cluster again and again, and keeps one task for each table.
//!
//! A table is declared by its topic's configs or by a section of our own config file, key by key
//! the latter first. A declaration that cannot be shows its error and stops nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;
use weir_protocol::table::settings::{TableName, TableSettings};

use crate::source::client::ClientError;
use crate::source::cluster::Cluster;
use crate::status::{Board, State, StatusCell, TableStatus};
use crate::table::lives;
use crate::table::shared::{Declared, Shared};

const INTERVAL_WHILE_STOPPING: Duration = Duration::from_secs(1);

/// What became of a topic's `table.*` settings.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Declaration {
    Table(Box<Declared>),
    Invalid(String),
}

/// A table's task, and how to reach it.
struct Running {
    name: TableName,
    declared: watch::Sender<Declared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A table's task that was told to stop and makes its last commit.
struct Stopping {
    topic: String,
    name: TableName,
    task: JoinHandle<()>,
}

impl Stopping {
    async fn end(self) {
        if let Err(error) = self.task.await {
            tracing::error!(topic = self.topic, "the table's task failed: {error}");
        }
    }
}

/// Every table of the cluster.
pub struct Tables {
    shared: Arc<Shared>,
    board: Arc<Board>,
    running: BTreeMap<String, Running>,
    /// Nobody waits for these, but neither topic nor table begins anew before they have ended.
    stopping: Vec<Stopping>,
    invalid: BTreeMap<String, String>,
}

impl Tables {
    /// No table yet.
    pub fn new(shared: Arc<Shared>, board: Arc<Board>) -> Self {
        let (running, invalid) = (BTreeMap::new(), BTreeMap::new());
        Self { shared, board, running, stopping: Vec::new(), invalid }
    }

    /// Looks for tables until told to stop; then stops each with a last commit.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let interval = Duration::from_millis(self.shared.config.discovery_interval_ms);
        let cluster = self.shared.cluster.apart();
        let mut was_reached = true;
        loop {
            let found = tokio::select! {
                found = discover(&cluster, &self.shared.config.topics) => found,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match found {
                Ok(declarations) => {
                    self.reconcile(declarations).await;
                    self.board.set_ready(Ok(()));
                    was_reached = true;
                }
                Err(error) => {
                    if was_reached {
                        tracing::warn!("cannot look for tables: {error}");
                    }
                    was_reached = false;
                    let servers = &self.shared.config.bootstrap_servers;
                    self.board.set_ready(Err(format!(
                        "{error}; it is asked again and again: start it, or correct \
                         bootstrap.servers={servers}"
                    )));
                }
            }
            // Whoever waits for a table to stop should not wait for long after it.
            let pause = match self.stopping.is_empty() {
                true => interval,
                false => interval.min(INTERVAL_WHILE_STOPPING),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.stop_all().await;
    }

    /// Starts, stops and tells tables, so that they are what was declared.
    async fn reconcile(&mut self, mut declarations: BTreeMap<String, Declaration>) {
        let gone = self.running.iter().filter(|(topic, running)| {
            !matches!(
                declarations.get(*topic),
                Some(Declaration::Table(declared)) if declared.settings.name == running.name
            ) || running.task.is_finished()
        });
        let gone: Vec<String> = gone.map(|(topic, _)| topic.clone()).collect();
        for topic in gone {
            self.stop(&topic);
        }
        let stopped = self.stopping.extract_if(.., |it| it.task.is_finished());
        for stopped in stopped.collect::<Vec<_>>() {
            stopped.end().await;
        }
        let shown = self.invalid.keys().filter(|topic| !declarations.contains_key(*topic));
        for topic in shown.cloned().collect::<Vec<_>>() {
            self.invalid.remove(&topic);
            self.board.take(&topic);
        }
        // Tables that run keep their name against newcomers.
        let mut names: BTreeMap<TableName, String> =
            self.running.iter().map(|(topic, it)| (it.name.clone(), topic.clone())).collect();
        for (topic, declaration) in &mut declarations {
            let Declaration::Table(declared) = declaration else { continue };
            let holder = names.entry(declared.settings.name.clone()).or_insert(topic.clone());
            if holder != topic {
                let name = &declared.settings.name;
                let error = format!(
                    "table.name={name}: topic {holder} is folded into it already; choose another"
                );
                *declaration = Declaration::Invalid(error);
            }
        }
        for (topic, declaration) in declarations {
            match declaration {
                Declaration::Invalid(error) => self.show_invalid(topic, error),
                Declaration::Table(declared) => self.start_or_tell(topic, *declared),
            }
        }
    }

    fn start_or_tell(&mut self, topic: String, declared: Declared) {
        self.invalid.remove(&topic);
        let name = declared.settings.name.clone();
        if self.stopping.iter().any(|it| it.topic == topic || it.name == name) {
            return;
        }
        if let Some(running) = self.running.get(&topic) {
            running.declared.send_if_modified(|known| {
                let is_new = *known != declared;
                *known = declared;
                is_new
            });
            return;
        }
        let status = StatusCell::new(TableStatus::new(&name.to_string(), &topic));
        self.board.put(&topic, status.clone());
        let (declared, declared_receiver) = watch::channel(declared);
        let (stop, stop_receiver) = watch::channel(false);
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(lives::run(shared, status, declared_receiver, stop_receiver));
        self.running.insert(topic, Running { name, declared, stop, task });
    }

    fn show_invalid(&mut self, topic: String, error: String) {
        if self.invalid.get(&topic) == Some(&error) {
            return;
        }
        tracing::warn!(topic, "the table cannot be: {error}");
        let mut status = TableStatus::new("", &topic);
        (status.state, status.last_error) = (State::Invalid, Some(error.clone()));
        self.board.put(&topic, StatusCell::new(status));
        self.invalid.insert(topic, error);
    }

    fn stop(&mut self, topic: &str) {
        let Some(running) = self.running.remove(topic) else { return };
        self.board.take(topic);
        let _ = running.stop.send(true);
        let Running { name, task, .. } = running;
        self.stopping.push(Stopping { topic: topic.to_owned(), name, task });
    }

    /// All at once: each has its last commit to make.
    async fn stop_all(&mut self) {
        for topic in self.running.keys().cloned().collect::<Vec<_>>() {
            self.stop(&topic);
        }
        for stopping in std::mem::take(&mut self.stopping) {
            stopping.end().await;
        }
    }
}

/// Every topic that says it is a table.
async fn discover(
    cluster: &Cluster,
    sections: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<BTreeMap<String, Declaration>, ClientError> {
    let client = cluster.any().await?;
    let metadata = client.metadata(None).await?;
    let topics: Vec<_> = metadata
        .topics
        .into_iter()
        .filter(|topic| !topic.is_internal && topic.error.is_none())
        .collect();
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let mut described = BTreeMap::new();
    if !names.is_empty() {
        described = client.describe_configs(&names).await?;
    }
    let mut declarations = BTreeMap::new();
    for topic in topics {
        let mut configs = BTreeMap::new();
        let mut has_holes = false;
        // A topic that was deleted meanwhile, or that we may not describe, declares nothing.
        if let Some(Ok(entries)) = described.remove(&topic.name) {
            has_holes = entries.iter().any(|entry| {
                let value = entry.value.as_deref().unwrap_or_default();
                entry.name == "cleanup.policy" && value.contains("compact")
            });
            let set = entries.into_iter().filter(|entry| entry.is_set);
            configs.extend(set.filter_map(|entry| Some((entry.name, entry.value?))));
        }
        configs.extend(sections.get(&topic.name).cloned().unwrap_or_default());
        let partitions = topic.leaders.keys().copied().collect();
        if let Some(mut found) = declaration(&topic.name, topic.topic_id, partitions, &configs) {
            if let Declaration::Table(declared) = &mut found {
                declared.has_holes = has_holes;
            }
            declarations.insert(topic.name, found);
        }
    }
    Ok(declarations)
}

/// What a topic's configs declare; none if they ask for no table.
fn declaration(
    topic: &str,
    topic_id: Uuid,
    partitions: Vec<i32>,
    configs: &BTreeMap<String, String>,
) -> Option<Declaration> {
    let is_asked = configs.get("table.enabled").is_some_and(|it| it.trim() != "false");
    match TableSettings::parse(topic, configs) {
        Ok(settings) if !settings.enabled => None,
        Ok(settings) => Some(Declaration::Table(Box::new(Declared {
            topic: topic.to_owned(),
            topic_id,
            partitions,
            has_holes: false,
            settings,
        }))),
        Err(error) if is_asked => Some(Declaration::Invalid(error.to_string())),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::ManualClock;
    use crate::config::Config;
    use crate::metrics::Metrics;
    use crate::store::Store;

    fn declared(configs: &[(&str, &str)]) -> Option<Declaration> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        declaration("orders", Uuid::nil(), vec![0, 1], &configs.iter().map(owned).collect())
    }

    #[test]
    fn only_a_topic_that_asks_for_a_table_is_one() {
        assert_eq!(declared(&[]), None);
        assert_eq!(declared(&[("retention.ms", "1")]), None);
        assert_eq!(declared(&[("table.enabled", "false"), ("table.merge.engine", "x")]), None);
        let Some(Declaration::Table(found)) = declared(&[("table.enabled", "true")]) else {
            panic!("it asks for one");
        };
        assert_eq!(found.settings.name.to_string(), "default.orders");
        assert_eq!(found.partitions, [0, 1]);
    }

    #[test]
    fn a_table_that_cannot_be_says_why() {
        let found = declared(&[("table.enabled", "true"), ("table.merge.engine", "x")]);
        let Some(Declaration::Invalid(error)) = found else { panic!("{found:?}") };
        assert!(error.contains("table.merge.engine"), "{error}");
    }

    #[tokio::test]
    async fn a_table_that_takes_its_time_to_stop_holds_up_no_other() {
        let config = Config { bootstrap_servers: "127.0.0.1:1".into(), ..Config::default() };
        let shared = Arc::new(Shared {
            cluster: Cluster::new(&config.bootstrap_servers, &config.group_id),
            store: Store::of_objects(Arc::new(object_store::memory::InMemory::new())),
            clock: Arc::new(ManualClock::at(0)),
            metrics: Arc::new(Metrics::new().unwrap()),
            compactions: Arc::new(Semaphore::new(1)),
            table_count: Arc::default(),
            config,
        });
        let board = Arc::new(Board::new());
        let mut tables = Tables::new(shared, Arc::clone(&board));
        let table = |topic: &str| {
            let configs = [("table.enabled", "true")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            declaration(topic, Uuid::nil(), vec![0], &BTreeMap::from(configs)).unwrap()
        };
        let Declaration::Table(slow) = table("slow") else { panic!("it asks for a table") };
        // Its last commit takes until we say so.
        let (commit, committed) = tokio::sync::oneshot::channel::<()>();
        let running = Running {
            name: slow.settings.name.clone(),
            declared: watch::Sender::new(*slow),
            stop: watch::Sender::new(false),
            task: tokio::spawn(async { drop(committed.await) }),
        };
        tables.running.insert("slow".into(), running);

        tables.reconcile(BTreeMap::from([("other".to_owned(), table("other"))])).await;
        assert!(tables.running.contains_key("other") && !tables.running.contains_key("slow"));
        // Declared again, it waits for its own last commit.
        let both = || ["slow", "other"].map(|topic| (topic.to_owned(), table(topic)));
        tables.reconcile(BTreeMap::from(both())).await;
        assert!(!tables.running.contains_key("slow"));
        commit.send(()).unwrap();
        while !tables.stopping[0].task.is_finished() {
            tokio::task::yield_now().await;
        }
        tables.reconcile(BTreeMap::from(both())).await;
        assert!(tables.running.contains_key("slow"));
        tables.stop_all().await;
        assert!(tables.running.is_empty() && tables.stopping.is_empty());
    }
}
