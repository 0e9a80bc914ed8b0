//! What the store promises, tried on real files.

use super::*;

fn store() -> (tempfile::TempDir, Arc<Journal>, Store) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::default());
    let files = LocalFiles::open(folder.path()).unwrap().with_journal(Arc::clone(&journal));
    (folder, journal, Store::of_local(files))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test]
async fn a_new_file_is_put_once_and_never_replaced() {
    let (_folder, _, store) = store();
    store.put_new("t/snapshot/snapshot-1", bytes("first")).await.unwrap();
    let second = store.put_new("t/snapshot/snapshot-1", bytes("second")).await;
    assert!(matches!(second, Err(StoreError::AlreadyExists { .. })), "{second:?}");
    assert_eq!(store.get("t/snapshot/snapshot-1").await.unwrap(), "first");
    store.put("t/snapshot/snapshot-1", bytes("third")).await.unwrap();
    assert_eq!(store.get("t/snapshot/snapshot-1").await.unwrap(), "third");
}

#[tokio::test]
async fn a_put_syncs_content_before_the_name_and_every_folder_above() {
    let (folder, journal, store) = store();
    store.put_new("a/b/file", bytes("x")).await.unwrap();
    let root = folder.path().canonicalize().unwrap();
    let shape: Vec<String> = journal
        .acts()
        .iter()
        .map(|act| {
            let (verb, path) = match act {
                FileAct::MakeFolder(path) => ("make", path),
                FileAct::SyncFolder(path) => ("sync", path),
                FileAct::Write(path, _) => ("write", path),
                FileAct::SyncFile(path) => ("sync", path),
                FileAct::Link(_, path) => ("link", path),
                FileAct::Rename(_, path) => ("rename", path),
                FileAct::Unlink(path) => ("unlink", path),
            };
            let path = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let hidden = path.contains("/.file.") && path.ends_with(".tmp");
            format!("{verb} {}", if hidden { "hidden" } else { &path })
        })
        .collect();
    let want = [
        "make a",
        "sync ",
        "make a/b",
        "sync a",
        "write hidden",
        "sync hidden",
        "link a/b/file",
        "unlink hidden",
        "sync a/b",
    ];
    assert_eq!(shape, want);
}

#[tokio::test]
async fn a_folder_that_others_made_is_synced_all_the_same() {
    let (folder, journal, store) = store();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    store.put_new("a/file", bytes("x")).await.unwrap();
    let root = folder.path().canonicalize().unwrap();
    assert_eq!(journal.acts()[0], FileAct::SyncFolder(root));
}

#[tokio::test]
async fn a_folder_that_was_taken_away_is_made_again() {
    let (folder, _, store) = store();
    store.put_new("a/one", bytes("x")).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("a")).unwrap();
    store.put_new("a/two", bytes("y")).await.unwrap();
    assert_eq!(store.get("a/two").await.unwrap(), "y");
}

#[tokio::test]
async fn names_with_percent_signs_and_foreign_letters_are_kept_as_they_are() {
    let (folder, _, store) = store();
    let path = "p=a%2Fb%25/naïve=水/bucket-0/data-1.parquet";
    store.put_new(path, bytes("x")).await.unwrap();
    assert!(folder.path().join(path).is_file());
    let listed = store.list("p=a%2Fb%25").await.unwrap();
    assert_eq!(listed.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), [path]);
    assert_eq!(store.list_folders("").await.unwrap(), ["p=a%2Fb%25"]);
}

#[tokio::test]
async fn half_written_files_are_hidden_from_readers_but_not_from_those_who_clear_up() {
    let (folder, _, store) = store();
    store.put_new("t/file", bytes("x")).await.unwrap();
    std::fs::write(folder.path().join("t/.file.5.tmp"), "half").unwrap();
    assert_eq!(store.list("t").await.unwrap().len(), 1);
    assert_eq!(store.list_with_temporary("t").await.unwrap().len(), 2);
    store.delete("t/.file.5.tmp").await.unwrap();
    assert_eq!(store.list_with_temporary("t").await.unwrap().len(), 1);
}

#[tokio::test]
async fn paths_that_leave_the_store_are_refused() {
    let (_folder, _, store) = store();
    for path in ["../out", "a/../../out", "/etc/passwd", "a//b", ""] {
        let put = store.put_new(path, bytes("x")).await;
        assert!(put.is_err(), "{path:?}");
        assert!(store.get_blocking(path).is_err(), "{path:?}");
    }
}

#[tokio::test]
async fn reads_beyond_the_end_and_of_missing_files_are_errors_that_name_the_path() {
    let (_folder, _, store) = store();
    store.put_new("t/file", bytes("0123456789")).await.unwrap();
    assert_eq!(store.get_range("t/file", 2..5).await.unwrap(), "234");
    assert_eq!(store.get_range_blocking("t/file", 2..5).unwrap(), "234");
    assert_eq!(store.get_range_blocking("t/file", 10..10).unwrap(), "");
    assert!(store.get_range("t/file", 5..11).await.is_err());
    assert!(store.get_range_blocking("t/file", 5..11).unwrap_err().to_string().contains("t/file"));
    assert!(store.get("t/none").await.unwrap_err().is_not_found());
    assert!(store.get_blocking("t/none").unwrap_err().is_not_found());
    assert!(!store.exists("t/none").await.unwrap());
    store.delete("t/none").await.unwrap();
}

#[test]
fn blocking_reads_work_over_any_object_store_and_outside_of_a_runtime() {
    let store = Store::of_objects(Arc::new(object_store::memory::InMemory::new()));
    block_on(store.put_new("t/file", bytes("0123"))).unwrap();
    assert_eq!(store.get_blocking("t/file").unwrap(), "0123");
    assert_eq!(store.get_range_blocking("t/file", 1..3).unwrap(), "12");
}

#[test]
fn a_location_that_is_no_folder_is_refused_in_one_line() {
    for location in ["", "s3://bucket/x", "file://relative"] {
        let error = Store::open(location).unwrap_err().to_string();
        assert!(!error.contains('\n') && error.contains("store"), "{error}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(Store::open(file.path().to_str().unwrap()).is_err());
}
