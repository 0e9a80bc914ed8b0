//! Schemas as Paimon's JSON and as Arrow; how one follows another.

use arrow_schema::DataType as ArrowType;
use weir_protocol::table::settings::TableSettings;
use weir_protocol::table::sql::parse_columns;

use super::evolution::{EvolutionError, evolve};
use super::*;

fn schema(configs: &[(&str, &str)], partitions: u32) -> Result<TableSchema, SchemaError> {
    let configs =
        configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let settings = TableSettings::parse("t", &configs).unwrap();
    let columns = settings.columns.clone().unwrap();
    TableSchema::from_settings(&settings, &columns, partitions, 1_700_000_000_000)
}

fn shop() -> TableSchema {
    let configs = [
        (
            "table.schema",
            "day STRING, id BIGINT, name STRING, r ROW<x INT NOT NULL, l ARRAY<MAP<INT, ARRAY<INT>>>> \
             NOT NULL, at TIMESTAMP(6) WITH LOCAL TIME ZONE",
        ),
        ("table.primary.key", "day,id"),
        ("table.partition.by", "day"),
        ("table.sequence.field", "at,id"),
    ];
    schema(&configs, 8).unwrap()
}

#[test]
fn a_schema_is_the_json_that_paimon_writes() {
    let json = r#"{
  "version": 3,
  "id": 0,
  "fields": [
    {
      "id": 0,
      "name": "day",
      "type": "STRING NOT NULL"
    },
    {
      "id": 1,
      "name": "id",
      "type": "BIGINT NOT NULL"
    },
    {
      "id": 2,
      "name": "name",
      "type": "STRING"
    },
    {
      "id": 3,
      "name": "r",
      "type": {
        "type": "ROW NOT NULL",
        "fields": [
          {
            "id": 4,
            "name": "x",
            "type": "INT NOT NULL"
          },
          {
            "id": 5,
            "name": "l",
            "type": {
              "type": "ARRAY",
              "element": {
                "type": "MAP",
                "key": "INT",
                "value": {
                  "type": "ARRAY",
                  "element": "INT"
                }
              }
            }
          }
        ]
      }
    },
    {
      "id": 6,
      "name": "at",
      "type": "TIMESTAMP(6) WITH LOCAL TIME ZONE"
    }
  ],
  "highestFieldId": 6,
  "partitionKeys": [
    "day"
  ],
  "primaryKeys": [
    "day",
    "id"
  ],
  "options": {
    "bucket": "2",
    "data-file.thin-mode": "true",
    "file.format": "parquet",
    "merge-engine": "deduplicate",
    "num-sorted-run.compaction-trigger": "5",
    "partition.legacy-name": "false",
    "sequence.field": "at,id",
    "snapshot.num-retained.min": "10",
    "snapshot.time-retained": "3600000 ms",
    "write-only": "true"
  },
  "timeMillis": 1700000000000
}"#;
    let schema = shop();
    assert_eq!(schema.to_json(), json);
    assert_eq!(TableSchema::from_json(json.as_bytes()).unwrap(), schema);
}

#[test]
fn what_is_no_schema_of_ours_is_refused_by_name() {
    let good = shop().to_json();
    let reason = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        TableSchema::from_json(good.replacen(from, to, 1).as_bytes()).unwrap_err().to_string()
    };
    assert!(reason("\"version\": 3", "\"version\": 4").contains("version 4, not 3"));
    assert!(reason("\"STRING\"", "\"VARIANT\"").contains("VARIANT is not supported"));
    assert!(reason("\"type\": \"MAP\"", "\"type\": \"MULTISET\"").contains("MULTISET"));
    assert!(reason("\"options\"", "\"option\"").contains("options is missing"));
    assert!(TableSchema::from_json(b"{").is_err());
}

#[test]
fn keys_are_trimmed_not_null_and_known() {
    let schema = shop();
    assert_eq!(schema.trimmed_primary_key(), [1]);
    assert_eq!(schema.partition_places(), [0]);
    assert_eq!(schema.sequence_places(), [4, 1]);
    assert_eq!(schema.key_types()[0].to_string(), "BIGINT NOT NULL");
    assert_eq!(schema.bucket_count(), 2);
    // Inferred columns are not known when the settings are set, so they are looked at here.
    let settings =
        TableSettings::parse("t", &[("table.primary.key".to_owned(), "id".to_owned())].into());
    let columns = parse_columns("id ARRAY<INT>, b INT").unwrap();
    let error = TableSchema::from_settings(&settings.clone().unwrap(), &columns, 1, 0).unwrap_err();
    assert!(error.to_string().contains("whose type ARRAY<INT> cannot be a key"));
    let error = TableSchema::from_settings(&settings.unwrap(), &columns[1..], 1, 0).unwrap_err();
    assert!(error.to_string().contains("the column id, which the table does not have"));
}

#[test]
fn an_append_table_has_neither_buckets_nor_system_columns() {
    let schema = super::tests::schema(&[("table.schema", "a INT")], 100).unwrap();
    assert_eq!(schema.bucket_count(), -1);
    assert_eq!(schema.file_schema(), schema.arrow_schema());
    assert_eq!(schema.file_schema().fields().len(), 1);
}

#[test]
fn nested_fields_have_the_ids_of_paimons_example() {
    let mut schema =
        super::tests::schema(&[("table.schema", "l ARRAY<MAP<INT, ARRAY<INT>>>")], 1).unwrap();
    schema.columns[0].id = 10;
    let arrow = schema.arrow_schema();
    let id = |field: &arrow_schema::Field| -> i32 {
        field.metadata()[super::arrow::FIELD_ID].parse().unwrap()
    };
    let base = 536_870_911;
    assert_eq!(id(arrow.field(0)), 10);
    let ArrowType::List(map) = arrow.field(0).data_type() else { panic!() };
    assert_eq!(id(map), base + 1024 * 10 + 1);
    let ArrowType::Map(entries, _) = map.data_type() else { panic!() };
    let ArrowType::Struct(entries) = entries.data_type() else { panic!() };
    assert_eq!(id(&entries[0]), base - 1024 * 10 - 2);
    assert_eq!(id(&entries[1]), base + 1024 * 10 + 2);
    let ArrowType::List(inner) = entries[1].data_type() else { panic!() };
    assert_eq!(id(inner), base + 1024 * 10 + 3);
    assert!(!entries[0].is_nullable());
    let file = shop().file_schema();
    assert_eq!((id(file.field(0)), id(file.field(1))), (2_147_483_646, 2_147_483_645));
}

#[test]
fn a_schema_grows_and_widens_and_keeps_its_ids() {
    let current = shop();
    assert_eq!(evolve(&current, &parse_columns("name VARCHAR(3), id INT").unwrap()), Ok(None));
    let wanted = "name STRING, new ROW<a INT, b STRING>, r ROW<x BIGINT, l ARRAY<MAP<INT, ARRAY<BIGINT>>>, \
         z DATE>, tail INT";
    let next = evolve(&current, &parse_columns(wanted).unwrap()).unwrap().unwrap();
    let shown: Vec<String> =
        next.columns.iter().map(|column| format!("{} {column}", column.id)).collect();
    assert_eq!(
        shown[3..],
        [
            "3 `r` ROW<`x` BIGINT, `l` ARRAY<MAP<INT, ARRAY<BIGINT>>>, `z` DATE>",
            "6 `at` TIMESTAMP(6) WITH LOCAL TIME ZONE",
            "7 `new` ROW<`a` INT, `b` STRING>",
            "11 `tail` INT",
        ]
    );
    assert_eq!((next.id, next.highest_field_id), (1, 11));
    let ids = |sql: &str| evolve(&current, &parse_columns(sql).unwrap());
    assert!(matches!(ids("id STRING"), Err(EvolutionError::Key { .. })));
    assert!(matches!(ids("name INT"), Err(EvolutionError::Type { .. })));
    assert!(matches!(ids("more INT NOT NULL"), Err(EvolutionError::NotNull { .. })));
    let error = ids("r ROW<x STRING>").unwrap_err().to_string();
    assert_eq!(error, "column r.x of type INT cannot become STRING");
}
