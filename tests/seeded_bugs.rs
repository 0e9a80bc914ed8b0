//! Bugs that are seeded on purpose into the real program: what is compared with the log must show
//! them. The other bugs are seeded where their suites are: `power_loss`, `commit`.

use crate::kit::program::{Program, table, wait_until, weir};
use crate::kit::wire::Client;

const CHUNKS: i64 = 5;
const CHUNK_ROWS: i64 = 10;

/// Folds records, each a row of its own, in several commits of one life and a second life: an error
/// unless the table holds each of them once.
fn check_rows(bug: Option<&str>) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let up = format!(
        "up --data-dir {folder} --override listeners=PLAINTEXT://127.0.0.1:0 \
         --override http.listen=127.0.0.1:0 --compactor-override http.listen=127.0.0.1:0 \
         --compactor-override discovery.interval.ms=50 --override log.segment.bytes=1048576"
    );
    let mut next = 0;
    for life in 0..2 {
        let mut command = weir(&up);
        command.envs(bug.map(|bug| ("WEIR_SEEDED_BUG", bug)));
        let program = Program::of(command, 2);
        let mut client = Client::connect(program.at("broker kafka"));
        if life == 0 {
            let settings = [
                ("table.enabled", "true"),
                ("table.schema", "id BIGINT NOT NULL"),
                ("table.primary.key", "id"),
                ("table.commit.interval.ms", "20"),
            ];
            assert_eq!(client.create("t", &settings).0, 0);
        }
        for _ in 0..CHUNKS {
            let rows: Vec<String> =
                (next..next + CHUNK_ROWS).map(|id| format!("{{\"id\":{id}}}")).collect();
            next += CHUNK_ROWS;
            assert_eq!(client.produce("t", &rows).0, 0);
            let pages = program.at("compactor http");
            let is_folded =
                || table(pages, "t").filter(|it| it["offsets"]["0"].as_i64() == Some(next));
            let folded = wait_until("the fold", is_folded, || format!("{:?}", table(pages, "t")));
            if folded["folded"].as_i64() != Some(next) {
                return Err(format!("{} rows of {next} records", folded["folded"]));
            }
        }
        assert!(program.stop().success());
    }
    Ok(())
}

#[test]
fn the_suite_sees_a_compactor_that_folds_from_the_offset_plus_one() {
    assert_eq!(check_rows(None), Ok(()));
    if !cfg!(debug_assertions) {
        // The switch is not there in a program that is built for use.
        return assert_eq!(check_rows(Some("fold-from-next-offset")), Ok(()));
    }
    let seen = check_rows(Some("fold-from-next-offset")).unwrap_err();
    assert_eq!(seen, "9 rows of 10 records");
}
